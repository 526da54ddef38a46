"""An event that is to be accepted: posted, or made by a schedule."""

import hashlib
import json
import re
import secrets
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.services.fields import (
    Channels,
    EventId,
    EventType,
    GivenTime,
    RequestModel,
    TenantName,
    with_examples,
)

RESERVED_ID = "stream"
"""`GET /v1/events/stream` shows no event."""


def _not_reserved(event_id: str) -> str:
    if event_id == RESERVED_ID:
        raise ValueError(f"must not be `{RESERVED_ID}`, which is a path of the API")
    return event_id


OwnEventId = Annotated[EventId, AfterValidator(_not_reserved)]
GENERATED_ID = re.compile(r"evt_[0-9a-f]{24}")


class NewEvent(RequestModel):
    model_config = with_examples({"type": "order.paid", "tenant": "acme", "data": {"order": 4711, "amount": "12.50"}})

    type: EventType
    data: Any = Field(default_factory=dict)
    """Any JSON."""
    id: OwnEventId | None = None
    """Your id, which makes it safe to repeat the POST. By default the `Idempotency-Key` header, or a generated id. Not
    `stream`."""
    tenant: TenantName = DEFAULT_TENANT
    channels: Channels = ()
    """What the event is about, such as a project. A webhook with channels gets only events that name one of them."""
    timestamp: GivenTime | None = None
    """When the event happened; by default now."""
    deliver_at: GivenTime | None = None
    """Deliver the event at this time or later; at most one year ahead."""


def new_event_id() -> str:
    return f"evt_{secrets.token_hex(12)}"


def is_generated(event_id: str) -> bool:
    """Return whether the id may be one of `new_event_id`."""
    return GENERATED_ID.fullmatch(event_id) is not None


def digest(event: NewEvent, only_to: str | None = None) -> str:
    """Return what two requests with one id have in common if they mean the same event. The order of keys is ignored.

    `only_to`: the webhook of a test event, which is not the same as an event for all.
    """
    meant: dict[str, Any] = event.model_dump(mode="json", include={"type", "data", "timestamp", "deliver_at"})
    if event.channels:
        meant["channels"] = sorted(event.channels)
    if only_to:
        meant["only_to"] = only_to
    canonical = json.dumps(meant, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
