"""What the API takes and gives of recoveries, and of the deliveries of a webhook."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from api.fields import EventType, Given, GivenTime, Taken, TenantName, Time
from api.schemas.events import Links
from links import DEFAULT_TENANT
from workflows.models import DeliveryStatus

Wanted = Literal["failed", "cancelled"]


class Recover(Taken):
    model_config = ConfigDict(json_schema_extra={"examples": [{"since": "2026-01-02T03:00:00Z", "dry_run": True}]})

    since: GivenTime
    """Events accepted, or last delivered again, at this time or later."""
    until: GivenTime | None = None
    """And before this time; until now where left out."""
    status: Wanted = "failed"
    """Deliveries that have ended so are made again."""
    types: list[EventType] = Field(default_factory=list, max_length=20)
    """Only events of exactly these types; all where left out."""
    rate: float = Field(20.0, ge=0.1, le=100, allow_inf_nan=False, strict=True)
    """Events a second."""
    dry_run: bool = Field(False, strict=True)
    """Only count: nothing is delivered."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.until is not None and self.until <= self.since:
            raise ValueError("until is not after since")
        return self


class NewRecovery(Recover):
    tenant: TenantName = DEFAULT_TENANT


class Recovery(Given):
    id: str | None
    """Null for a dry run."""
    tenant: str
    webhook_id: str | None
    """Null: all of the tenant."""
    status: Literal["running", "paused", "finished", "cancelled", "dry_run"]
    found: int | None
    """Events that were finished when it began, and those still open that it met; null until they are counted."""
    redelivered: int
    """Events that are being delivered again."""
    failed: int
    """Events that could not be read for minutes, and were left behind."""
    skipped: int
    """Events that need it no more, are erased, or whose webhook is off."""
    since: Time
    until: Time
    types: list[str]
    wanted: Wanted
    """`status` of the request."""
    rate: float
    started_at: Time
    finished_at: Time | None


class Steered(Given):
    """The recovery has taken the command."""

    id: str
    command: Literal["pause", "resume", "cancel"]


class WebhookDelivery(Given):
    """An event's deliveries to one webhook: where it has several, the one that is furthest from done."""

    event_id: str
    type: str
    tenant: str
    status: DeliveryStatus
    accepted_at: Time
    finished_at: Time | None
    """When all of the event was finished."""
    workflow_id: str
    run_id: str
    links: Links


class HeldCount(Given):
    webhook_id: str
    held: int
    """Events whose deliveries are held, for whatever reason."""
    counted_at: Time
    """A count is repeated for some seconds."""


class QueueState(Given):
    webhook_id: str
    waiting: int
    """Events of an ordered webhook that wait for their turn, or have it. 0 where it is not ordered."""
    head: str | None
    """The event that has the turn; with a dot and a number where a part of it is meant."""
    stuck_since: Time | None
    """Since then, the run of that event has not answered Temporal, and the others wait for it."""
