"""Events, as the API takes and gives them."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from api.fields import (
    EventId,
    EventType,
    Given,
    GivenTime,
    Taken,
    TenantName,
    Time,
)
from api.problems import ProblemDocument
from links import DEFAULT_TENANT
from workflows.models import Channel, DeliveryStatus, EventStatus, Reason, ReceiptKind, Trigger


class NewEvent(Taken):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"type": "order.paid", "tenant": "acme", "data": {"order": 4711, "amount": "12.50"}}]
        }
    )

    type: EventType
    data: Any = Field(default_factory=dict)
    """Any JSON."""
    id: EventId | None = None
    """Yours, to make a repeated POST safe. Else the `Idempotency-Key` header, else a new one."""
    tenant: TenantName = DEFAULT_TENANT
    timestamp: GivenTime | None = None
    """When it happened; now where left out."""
    deliver_at: GivenTime | None = None
    """Deliver no earlier; at most a year ahead."""


class Batch(Taken):
    events: list[Any] = Field(min_length=1, max_length=100)
    """Events as `POST /v1/events` takes them."""


class Links(Given):
    self: str
    temporal: str | None
    """The run in the Temporal web UI."""


class DeliveryHead(Given):
    id: str
    webhook_id: str
    channel: Channel


class AcceptedEvent(Given):
    id: str
    type: str
    tenant: str
    status: EventStatus
    duplicate: bool
    """The event was accepted before; nothing is delivered twice."""
    workflow_id: str
    run_id: str
    deliveries: list[DeliveryHead]
    links: Links


class BatchAnswer(Given):
    """What became of one event of a batch: `status` as `POST /v1/events` would have answered."""

    status: int
    event: AcceptedEvent | None = None
    problem: ProblemDocument | None = None


class BatchAnswers(Given):
    items: list[BatchAnswer]


class Attempt(Given):
    number: int
    trigger: Trigger
    started_at: Time
    duration_ms: float
    status_code: int | None
    error: str | None
    response_excerpt: str


class Receipt(Given):
    """What the mail provider said of an email on its way."""

    attempt: int
    address: str
    kind: ReceiptKind
    at: Time
    detail: str


class Delivery(DeliveryHead):
    target: str
    """The URL without its query; the addresses of an email; the service of a notification."""
    status: DeliveryStatus
    reason: Reason | None
    """Why it is held, waits or has ended. `held_too_long`: it was held longer than `HOOKKEEPER_MAX_HOLD`."""
    next_attempt_at: Time | None
    attempts: list[Attempt]
    attempts_omitted: int
    """Older attempts that are not shown; the Temporal history has them."""
    awaiting: list[str]
    """Addresses of which the mail provider has still to say whether the email has arrived."""
    receipts: list[Receipt]


class EventHead(Given):
    id: str
    type: str
    tenant: str
    status: EventStatus
    accepted_at: Time
    finished_at: Time | None
    """When the run ended. It can come after the final status by some hours, while alerts are retried."""
    deliver_at: Time | None
    workflow_id: str
    run_id: str
    links: Links


class Event(EventHead):
    timestamp: Time
    data: Any
    deliveries: list[Delivery]


class EventRow(EventHead):
    webhooks: list[str]
    trouble: list[str]
    """Webhooks whose delivery is retrying, held or failed."""


class Named(Taken):
    delivery: str | None = Field(None, max_length=256)
    """The delivery that is meant; all where left out."""


class Reschedule(Taken):
    deliver_at: GivenTime


class Obeyed(Given):
    """The run has taken the command."""

    id: str
    command: Literal["cancel", "retry", "hold", "release", "redeliver", "reschedule"]
    delivery: str | None = None
