"""What `/v1/schedules` takes and gives."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from api.cron import check_cron, check_timezone
from api.fields import EventType, Given, GivenTime, Line, Taken, TenantName, Time
from links import DEFAULT_TENANT
from workflows.plans import YEAR, Overlap
from workflows.schedule_reading import FiringStatus

SCHEDULE_ID = r"^[A-Za-z0-9_-]{1,100}$"
"""A time is added to it, to name the events that it makes."""
MAX_NOTE = 250
"""Characters: Temporal takes no more than 1000 bytes where a schedule is paused."""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _within_reason(when: datetime) -> datetime:
    if not EARLIEST <= when < LATEST:
        raise ValueError("is before 1970 or after 2199")
    return when


Cron = Annotated[str, Field(max_length=256), AfterValidator(check_cron)]
TimeZone = Annotated[str, Field(max_length=64), AfterValidator(check_timezone)]
SensibleTime = Annotated[GivenTime, AfterValidator(_within_reason)]


class EventToMake(Taken):
    """What each event of a schedule is."""

    type: EventType
    data: Any = Field(default_factory=dict)
    """Any JSON; the same each time."""


class ScheduleFields(Taken):
    """What can be set when a schedule is made, and changed later."""

    name: Line = Field("", max_length=256)
    cron: list[Cron] | None = Field(None, min_length=1, max_length=20, examples=[["0 9 * * 1-5"]])
    """Minute, hour, day of the month, month, day of the week: whenever one of these expressions says so."""
    every: int | None = Field(None, ge=1, le=YEAR, strict=True)
    """Instead: seconds from one event to the next, counted from 1970-01-01T00:00:00Z on."""
    offset: int = Field(0, ge=0, lt=YEAR, strict=True)
    """Seconds after each full `every`: 300 with an `every` of 3600 is five minutes past each hour."""
    timezone: TimeZone = Field("UTC", examples=["Europe/Berlin"])
    """Where the clock hangs that `cron` is about, by its name in the IANA database."""
    overlap: Overlap = "skip"
    """What happens at a time while the event before it is still being delivered, retried or held. `skip`: nothing.
    `buffer_one`, `buffer_all`: it is made afterwards, once or as often as missed. `cancel_other`: the one before it is
    cancelled. `allow_all`: it is made all the same."""
    catchup_window: int = Field(YEAR, ge=10, le=YEAR, strict=True)
    """Seconds: times that passed while Temporal was away are made up for if they are no older than this."""
    jitter: int = Field(0, ge=0, le=86400, strict=True)
    """Seconds by which an event may be late, at random."""
    start_at: SensibleTime | None = None
    """No events before this."""
    end_at: SensibleTime | None = None
    """No events after this."""
    paused: bool = Field(False, strict=True)
    note: Line = Field("", max_length=MAX_NOTE)
    """For people: why it is paused, say. Temporal shows it, and does not encrypt it."""


class NewSchedule(ScheduleFields):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "daily-report",
                    "tenant": "acme",
                    "event": {"type": "report.due", "data": {"report": "orders"}},
                    "cron": ["0 9 * * 1-5"],
                    "timezone": "Europe/Berlin",
                }
            ]
        }
    )

    id: Annotated[str, Field(pattern=SCHEDULE_ID)] | None = None
    """Yours; made where none is given. Its events are named after it: `daily-report-20260102T080000Z`."""
    tenant: TenantName = DEFAULT_TENANT
    event: EventToMake


class ScheduleChanges(ScheduleFields):
    """Only what is given is changed. `cron` takes the place of `every`, and the other way round."""

    event: EventToMake | None = None
    """Null leaves it as it is."""


class Noted(Taken):
    note: Line = Field("", max_length=MAX_NOTE)
    """For people: why."""


class Trigger(Taken):
    overlap: Overlap = "allow_all"
    """What happens where an earlier event is still being delivered."""


class Backfill(Taken):
    since: SensibleTime
    until: SensibleTime
    """Not included, and not in the future."""
    overlap: Overlap = "allow_all"
    """`buffer_all` makes one event after the other, each when the one before it is delivered."""


class ScheduleLinks(Given):
    self: str
    temporal: str | None
    """The schedule in the Temporal web UI."""


class FiringLinks(Given):
    event: str | None
    """The event, unless it was refused."""
    temporal: str | None
    """The run that made it, in the Temporal web UI."""


class Firing(Given):
    """What came of one time."""

    time: Time
    """The time that it stands for, and the timestamp of its event."""
    started_at: Time
    status: FiringStatus
    """`running`: the event is being accepted, or its delivery waited for. `done`: it was accepted, and its delivery is
    over where that was waited for. `refused`: there is no event, see `reason`. `cancelled`: so was the event."""
    event_id: str | None
    reason: str | None
    links: FiringLinks


class ScheduleHead(Given):
    id: str
    tenant: str
    name: str
    type: str
    """Of its events."""
    cron: list[str] | None
    every: int | None
    offset: int
    timezone: str
    overlap: Overlap
    start_at: Time | None
    end_at: Time | None
    paused: bool
    note: str
    next: list[Time]
    """Its next times, ten at most; also while it is paused."""
    links: ScheduleLinks


class Schedule(ScheduleHead):
    event: EventToMake
    catchup_window: int
    jitter: int
    recent: list[Firing]
    """The latest ten, newest first."""
    skipped: int
    """Times that passed without an event, because another one was still being delivered."""
    missed: int
    """Times that passed while Temporal was away for longer than the catch-up window."""
    created_at: Time
    updated_at: Time | None


class Fired(Given):
    """Temporal has taken the command."""

    id: str
    command: Literal["trigger", "backfill"]
    events: list[str] | None = None
    """Of a backfill: the ids of the events that are there in the end, as far as they are not refused."""
