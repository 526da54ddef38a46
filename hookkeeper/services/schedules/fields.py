"""What a schedule has, as it is given, changed and shown; and requests about one.

The OpenAPI document and the options of the command line are made of it, as for webhooks.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from hookkeeper.content.text import SECONDS
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.messages.schedule import YEAR, OverlapPolicy
from hookkeeper.services.fields import (
    AS_TEXT,
    SCHEDULE_ID,
    SHOWN_AS_GIVEN,
    Channels,
    EventId,
    EventType,
    GivenTime,
    Line,
    Owned,
    RequestModel,
    ResponseModel,
    Shown,
    TenantName,
    Time,
    with_examples,
)
from hookkeeper.services.schedules.cron import check_cron, check_timezone
from hookkeeper.temporal.schedules.conversion import FiringStatus

MAX_NOTE = 250
"""Characters: Temporal takes no more than 1000 bytes where a schedule is paused."""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _within_reason(when: datetime) -> datetime:
    if not EARLIEST <= when < LATEST:
        raise ValueError("is before 1970 or after 2199")
    return when


Cron = Annotated[str, Field(max_length=256), AfterValidator(check_cron)]
TimeZone = Annotated[str, Field(max_length=64), AfterValidator(check_timezone)]
SensibleTime = Annotated[GivenTime, AfterValidator(_within_reason), AS_TEXT]


class EventTemplate(RequestModel):
    """The event that a schedule posts."""

    type: EventType = Field(examples=["report.due"])
    """The type of its events."""
    channels: Channels = ()
    """Their channels. A webhook with channels gets only events that name one of them."""
    data: Any = Field(default_factory=dict)
    """The same for each event."""


class ScheduleFields(RequestModel):
    """What can be set when a schedule is made, and changed later."""

    name: Line = Field("", max_length=256)
    cron: list[Cron] | None = Field(None, min_length=1, max_length=20, examples=[["0 9 * * 1-5"]])
    """Cron expressions: minute, hour, day of the month, month, day of the week. An event is posted if any matches.
    If an expression has both kinds of days, both must match. Times that never come are refused."""
    every: Annotated[int, SECONDS] | None = Field(None, ge=1, le=YEAR, strict=True)
    """In place of `cron`: seconds from one event to the next, aligned to 1970-01-01T00:00:00Z."""
    offset: Annotated[int, SECONDS] = Field(0, ge=0, lt=YEAR, strict=True)
    """Seconds to add to each interval: 300 with an `every` of 3600 means five minutes past each hour."""
    timezone: TimeZone = Field("UTC", examples=["Europe/Berlin"])
    """Time zone of `cron`: a name in the IANA database."""
    overlap: OverlapPolicy = "skip"
    """What to do if the previous event is still being delivered, retried or held. `skip`: post no event. `buffer_one`,
    `buffer_all`: post one event, or all missed events, afterwards. `cancel_other`: cancel the previous event.
    `allow_all`: post the event anyway."""
    catchup_window: Annotated[int, SECONDS] = Field(YEAR, ge=10, le=YEAR, strict=True)
    """Seconds. Times that were missed while Temporal was unavailable are caught up if they are not older."""
    jitter: Annotated[int, SECONDS] = Field(0, ge=0, le=86400, strict=True)
    """Maximum random delay of each event, in seconds."""
    start_at: SensibleTime | None = None
    """No events before this time."""
    end_at: SensibleTime | None = None
    """No events after this time, which must be in the future."""
    paused: bool = Field(False, strict=True)
    """A paused schedule posts no events."""
    note: Line = Field("", max_length=MAX_NOTE)
    """A note, for example why the schedule is paused. Temporal shows it, unencrypted."""


class NewSchedule(ScheduleFields):
    model_config = with_examples(
        {
            "id": "daily-report",
            "tenant": "acme",
            "event": {"type": "report.due", "data": {"report": "orders"}},
            "cron": ["0 9 * * 1-5"],
            "timezone": "Europe/Berlin",
        }
    )

    id: Annotated[str, Field(pattern=SCHEDULE_ID)] | None = None
    """Your id; by default a generated one. It is part of the ids of its events: `daily-report-20260102T080000Z`."""
    tenant: TenantName = DEFAULT_TENANT
    event: EventTemplate


class ScheduleChanges(ScheduleFields):
    """Only the fields that are sent are changed. Setting `cron` removes `every`, and the reverse."""

    model_config = with_examples({"cron": ["0 8 * * 1-5"]})

    event: EventTemplate | None = None
    """Null does not change the event."""


class ScheduleLinks(ResponseModel):
    self: str
    temporal: str | None
    """The schedule in the Temporal web UI. Null for a key of one tenant."""


class FiringLinks(ResponseModel):
    event: str | None
    """The event; null if it was refused."""
    temporal: str | None
    """The run that posted it, in the Temporal web UI. Null for a key of one tenant."""


class FiringView(ResponseModel):
    """The result of one scheduled time."""

    time: Time
    """The scheduled time, which is the timestamp of the event."""
    started_at: Time
    status: FiringStatus
    """`running`: the event is being accepted, or its delivery is awaited. `done`: the event was accepted, and its
    delivery has ended if it was awaited. `refused`: there is no event, see `reason`. `cancelled`: the event was
    cancelled."""
    event_id: str | None
    reason: str | None
    links: FiringLinks


class ScheduleSummary(Shown, ScheduleFields, Owned):
    model_config = SHOWN_AS_GIVEN

    type: str
    """The type of its events."""
    next: list[Time] | None
    """The next times, at most ten, even if the schedule is paused. Null, as results are, while Temporal does not answer
    or lacks the schedule."""
    links: ScheduleLinks


class ScheduleView(ScheduleSummary):
    event: EventTemplate
    recent: list[FiringView] | None
    """The latest ten results, newest first."""
    skipped: int | None
    """Times without an event, because an earlier event was still being delivered."""
    missed: int | None
    """Times without an event, because Temporal was unavailable for longer than the catch-up window."""
    created_at: Time
    updated_at: Time | None


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


SHOWN = ScheduleView.model_fields.keys()
"""Fields of answers, some of which cannot be set."""
