"""Requests and answers about schedules, besides what a schedule has (`hookkeeper.services.schedule_fields`)."""

from typing import Literal

from pydantic import Field

from hookkeeper.messages.schedule import OverlapPolicy
from hookkeeper.services.fields import EventId, Line, RequestModel, ResponseModel, with_examples
from hookkeeper.services.schedule_fields import MAX_NOTE, SensibleTime


class ScheduleNote(RequestModel):
    model_config = with_examples({"note": "Closed for the holidays"})

    note: Line = Field("", max_length=MAX_NOTE)
    """A note, such as the reason."""


class TriggerRequest(RequestModel):
    model_config = with_examples({"overlap": "allow_all"})

    overlap: OverlapPolicy = "allow_all"
    """What to do if an earlier event is still being delivered."""
    id: EventId | None = None
    """The event's id, as an earlier answer to the same request named it, which makes it safe to repeat the request. By
    default an id of the current second."""


class BackfillRequest(RequestModel):
    model_config = with_examples({"since": "2026-01-01T00:00:00Z", "until": "2026-01-03T00:00:00Z"})

    since: SensibleTime
    until: SensibleTime
    """Exclusive, and not in the future."""
    overlap: OverlapPolicy = "allow_all"
    """`buffer_all` posts one event after the other, each after the delivery of the previous one. `cancel_other` cancels
    an event that is still being delivered, also one of the same request if that is repeated."""


class ScheduleCommandAccepted(ResponseModel):
    """Temporal has accepted the command."""

    id: str
    command: Literal["trigger", "backfill"]
    events: list[str]
    """The ids of the events, some of which may be refused."""
