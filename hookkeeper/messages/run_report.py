"""What a run reports, to be written to the rows of its event (`activities.record`)."""

from datetime import UTC, datetime
from typing import NamedTuple

from pydantic_core import to_json

from hookkeeper.messages import Message
from hookkeeper.messages.event import Delivery, EventInput, EventState, EventStatus

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every other report."""


class EventProgress(NamedTuple):
    """What the event's own run knows, and its parts do not."""

    status: EventStatus
    needs_attention: bool
    """A delivery is retrying, held or failed."""
    deliver_at: datetime | None
    run_id: str
    digest: str
    shared_run: str | None = None
    """The workflow id of the shared run that has the event; None: it has a run of its own."""
    size: int | None = None
    """Bytes of the event's data as JSON; None if the reporter does not know it."""


class RunReport(NamedTuple):
    """The state of a run, or what has changed of it."""

    tenant: str
    event_id: str
    type: str
    accepted_at: datetime
    as_of: datetime
    """By Temporal's clock. Of two reports, the later one counts."""
    progress: EventProgress | None
    """None: the report of a part."""
    deliveries: tuple[Delivery, ...]
    """All deliveries of the run, or those that have changed."""
    finished_at: datetime | None = None
    """When the run has closed."""
    part: int = 0
    """The number of the part; 0 for the event's own run."""
    traceparent: str | None = None
    """The context in which the run is traced."""
    deliveries_before: tuple[Delivery, ...] = ()
    """Of a redelivery: the deliveries when the run started. They were recorded, but the rows may be gone."""


class RunReports(Message):
    """Reports that are written together."""

    reports: tuple[RunReport, ...]


def first_report(event: EventInput, state: EventState, run_id: str = "", shared_run: str | None = None) -> RunReport:
    """Return the report of an event that was just accepted. Every report of its run counts more."""
    size = len(to_json(event.data))
    return report_of(state, progress_of(state, run_id, event.digest, shared_run=shared_run, size=size), BEGINNING)


def progress_of(
    state: EventState, run_id: str, digest: str, *, shared_run: str | None = None, size: int | None = None
) -> EventProgress:
    """Return the progress of an event in this state."""
    return EventProgress(
        status=state.status,
        needs_attention=state.needs_attention,
        deliver_at=state.deliver_at,
        run_id=run_id,
        digest=digest,
        shared_run=shared_run,
        size=size,
    )


def report_of(
    state: EventState,
    progress: EventProgress | None,
    as_of: datetime,
    finished_at: datetime | None = None,
    part: int = 0,
) -> RunReport:
    """Return the report of a run in this state."""
    return RunReport(
        tenant=state.tenant,
        event_id=state.id,
        type=state.type,
        accepted_at=state.accepted_at,
        as_of=as_of,
        progress=progress,
        deliveries=state.deliveries,
        finished_at=finished_at,
        part=part,
    )
