"""The messages of incidents (`workflows.incident`): looks, alerts, probes."""

from datetime import datetime

from hookkeeper.content.context import AlertKind
from hookkeeper.messages import Message
from hookkeeper.messages.outcomes import Outcome


class FailingTarget(Message):
    """A target of a webhook whose latest attempt has failed."""

    target: str
    failures: int
    since: datetime
    status_code: int | None = None
    error: str | None = None
    text: str = ""


class FailedDelivery(Message):
    """A delivery that has failed for good, besides the one that an alert names."""

    event: str
    type: str
    delivery: str
    target: str
    status_code: int | None = None
    error: str | None = None


class IncidentFacts(Message):
    """What an incident knew of its webhook when it decided to alert."""

    key: str
    """The same for all alerts of the incident; empty for `failed`."""
    at: datetime
    since: datetime | None = None
    """When the failures began."""
    failures: int = 0
    """Failed attempts in a row."""
    also_failing: tuple[FailingTarget, ...] = ()
    """Further targets, without the one that the alert names."""
    waiting: int = 0
    """Deliveries that are held, or wait for a retry, at most 1,000."""
    next_attempt_at: datetime | None = None
    disable_at: datetime | None = None
    """A failure after this time disables the webhook; None: none does."""
    unreported: int = 0
    """What has failed since the alert before without an alert of its own."""


class Alert(Message):
    """What an incident has to tell, as it has claimed it."""

    token: str
    """Identifies the alert: it is sent once, whichever run or try of an activity sends it."""
    kind: AlertKind
    id: str
    type: str
    tenant: str
    timestamp: datetime
    webhook_id: str
    delivery: str
    channel: str
    target: str
    reason: str | None = None
    attempts: int = 0
    status_code: int | None = None
    error: str | None = None
    text: str = ""
    """What a receiver has answered last; of `failed`, it is read from the row: the event may be erased."""
    incident: IncidentFacts
    also_failed: tuple[FailedDelivery, ...] = ()
    """Of `failed`: the latest of the other deliveries that have failed since the alert before."""


class AlertResult(Message):
    """The recipients that were reached, and those that were given up."""

    sent: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()


class IncidentInput(Message):
    """What starts the incident of a webhook."""

    webhook_id: str
    tenant: str
    wait: float
    """Seconds until it first looks at the webhook."""


class IncidentLook(Message):
    """A look at the webhook of an incident, or a probe of it."""

    webhook_id: str
    tenant: str
    token: str
    """Identifies it: an alert is claimed once, whichever try of the activity claims it."""


class IncidentStep(Message):
    """What a look has found."""

    alert: Alert | None = None
    wait: float | None = None
    """Seconds until the next look; None: there is nothing to wait for."""
    probe_after: float | None = None
    """Seconds between two probes; None: the webhook is not probed."""


class ProbeResult(Message):
    """A probe has no run of its own: its outcome is in the history of the incident."""

    outcome: Outcome | None = None
    """None: the webhook was not disabled for failing any more."""
