"""What the API gives of the whole installation."""

from hookkeeper.services.fields import ResponseModel, Time


class WaitingDeliveries(ResponseModel):
    oldest_pending: float
    """Seconds for which the oldest delivery that only waits for a worker has been due: since its event was accepted, or
    its `deliver_at`. 0 without any."""
    held: int
    """At most 20,000 held and retrying deliveries are counted."""
    retrying: int


class WebhookCounts(ResponseModel):
    """Each webhook is counted once: as `disabled_by_failures`, else `disabled`, else `paused`, else `failing`, else
    `active`.
    """

    active: int
    failing: int
    """The latest requests have failed."""
    paused: int
    disabled: int
    """By a request."""
    disabled_by_failures: int


class Backlog(ResponseModel):
    """Tasks that wait for a worker, about, by task queue."""

    main: int
    """Steps of runs, and first attempts."""
    retry: int
    bulk: int
    """Releases and recoveries."""


class SystemView(ResponseModel):
    as_of: Time
    deliveries: WaitingDeliveries | None
    webhooks: WebhookCounts | None
    backlog: Backlog | None
