"""What a run reports, to be written to the rows of its event (`activities.runs`)."""

from datetime import UTC, datetime
from typing import NamedTuple

from pydantic_core import to_json

from hookkeeper.messages.event import Delivery, EventInput, EventState, EventStatus
from hookkeeper.partition import parts_of

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every other report."""


class EventProgress(NamedTuple):
    """What a run says of its event; of one with siblings, about its own deliveries."""

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
    channels: tuple[str, ...] = ()
    """Empty if the reporter does not know them."""


class RunReport(NamedTuple):
    """The state of a run, or what has changed of it."""

    tenant: str
    event_id: str
    type: str
    accepted_at: datetime
    as_of: datetime
    """By Temporal's clock. The later of two reports counts."""
    progress: EventProgress
    deliveries: tuple[Delivery, ...]
    """All deliveries of the run, or those that have changed; of a new event, those of all its runs."""
    finished_at: datetime | None = None
    """When the run has closed."""
    part: int = 1
    """The number of the run among its siblings (`hookkeeper.partition`)."""
    parts: int = 1
    """How many siblings there are."""
    traceparent: str | None = None
    """The context in which the run is traced."""
    deliveries_before: tuple[Delivery, ...] = ()
    """The deliveries when the run of a redelivery started. They were recorded, but the rows may be gone."""


def first_report(event: EventInput, state: EventState, run_id: str = "", shared_run: str | None = None) -> RunReport:
    """Return the report of an event that was just accepted. Every report of its run counts more."""
    size = len(to_json(event.data))
    progress = progress_of(state, run_id, event.digest, shared_run=shared_run, size=size, channels=event.channels)
    return report_of(state, progress, BEGINNING, parts=parts_of(event)[0].parts)


def progress_of(
    state: EventState,
    run_id: str,
    digest: str,
    *,
    shared_run: str | None = None,
    size: int | None = None,
    channels: tuple[str, ...] = (),
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
        channels=channels,
    )


def report_of(
    state: EventState,
    progress: EventProgress,
    as_of: datetime,
    finished_at: datetime | None = None,
    part: int = 1,
    parts: int = 1,
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
        parts=parts,
    )
