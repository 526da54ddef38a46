"""Answers about recoveries, and about the deliveries of a webhook."""

from typing import Literal

from api.schemas.events import EventLinks
from hookkeeper.kinds import Channel
from hookkeeper.messages.bulk_work import BulkAction, RecoverableStatus
from hookkeeper.messages.event import Reason
from hookkeeper.services.fields import ResponseModel, Time
from hookkeeper.statuses import DeliveryStatus


class RecoveryView(ResponseModel):
    id: str | None
    """Null for a dry run."""
    tenant: str
    action: Literal["recover", "erase"] | BulkAction
    """`recover`: deliveries of the status are made again, or now, oldest first. `erase`: a tenant is deleted. Others
    are bulk actions."""
    filter: dict[str, str | list[str]] | None
    """What a bulk action searches, as parameters of `GET /v1/events`; null for `recover`."""
    changes: list[DeliveryStatus]
    """Statuses of the deliveries that it changes, of those that meet the conditions of `filter` on deliveries. None if
    it changes events only."""
    webhook_id: str | None
    """Null for a recovery of the whole tenant, and for a bulk action."""
    status: Literal["running", "paused", "finished", "cancelled", "unknown", "dry_run"]
    """In a list, `unknown` if the recovery's workflow does not answer. The counts are then older ones."""
    found: int | None
    """Events with such deliveries when the recovery began, and those found since. Null until they are counted. A dry
    run of a bulk action counts at most 10,000."""
    done: int
    """Events that were redelivered, or to which the action was applied."""
    failed: int
    """Events that were skipped because they could not be read for minutes."""
    skipped: int
    """Events that no longer need it, were erased, or whose webhook is paused, disabled or deleted."""
    since: Time | None
    """Null for a bulk action, whose `filter` has it, and for `retrying` without a time."""
    until: Time
    types: list[str]
    requested_status: RecoverableStatus
    """The `status` of the request; without a meaning for a bulk action."""
    rate: float
    started_at: Time
    finished_at: Time | None


class RecoveryCommandAccepted(ResponseModel):
    """The recovery has accepted the command."""

    id: str
    command: Literal["pause", "resume", "cancel"]


class WebhookDelivery(ResponseModel):
    """A delivery of an event to one target of the webhook."""

    id: str
    event_id: str
    type: str
    tenant: str
    channel: Channel
    status: DeliveryStatus
    reason: Reason | None
    attempts: int
    """Number of attempts."""
    status_code: int | None
    """From the latest attempt."""
    error: str | None
    """From the latest attempt."""
    next_attempt_at: Time | None
    accepted_at: Time
    finished_at: Time | None
    """When the delivery ended."""
    workflow_id: str
    run_id: str
    links: EventLinks


class HeldCount(ResponseModel):
    webhook_id: str
    held: int
    """Events with held deliveries, for any reason. At most 100,000 are counted."""
    counted_at: Time
    """A count is cached for a few seconds."""


class QueueState(ResponseModel):
    webhook_id: str
    waiting: int
    """Events in the queue, including the head. 0 for a webhook that is not ordered."""
    head: str | None
    """The event that is being delivered; with a dot and a number if a further run has its targets."""
    stuck_since: Time | None
    """Since when the run of the head has not responded to Temporal, so that all others wait."""
