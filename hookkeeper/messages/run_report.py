"""What a run reports, to be written to the rows of its event (`activities.runs`)."""

from datetime import UTC, datetime
from typing import NamedTuple

from pydantic_core import to_json

from hookkeeper.content.search_terms import Key
from hookkeeper.messages.event import Delivery, EventInput, EventState
from hookkeeper.messages.partition import parts_of
from hookkeeper.messages.rows import EventKey, EventRow

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every other report."""


class RunReport(NamedTuple):
    """The state of a run, or what has changed of it."""

    event: EventRow
    """What the run says of its event; of one with siblings, about its own deliveries. `input`, if it is to be kept."""
    deliveries: tuple[Delivery, ...]
    """All deliveries of the run, or those that have changed; of a new event, those of all its runs."""
    part: int = 1
    """The number of the run among its siblings (`hookkeeper.messages.partition`)."""
    traceparent: str | None = None
    """The context in which the run is traced."""
    deliveries_before: tuple[Delivery, ...] = ()
    """The deliveries when the run of a redelivery started. They were recorded, but the rows may be gone."""
    keys: tuple[Key, ...] = ()
    """What the event's data can be searched by, if it is to be kept."""

    @property
    def key(self) -> EventKey:
        return self.event.key


def first_report(
    event: EventInput,
    state: EventState,
    shared_run: str | None = None,
    *,
    run_id: str = "",
    text: str = "",
    keys: tuple[Key, ...] = (),
) -> RunReport:
    """Return the report of an event that was just accepted. Every report of its run counts more. `text`: the event as
    JSON.
    """
    row = row_of(state, BEGINNING, run_id, event)._replace(shared_run=shared_run, parts=parts_of(event)[0].parts)
    return RunReport(with_data(row, event)._replace(input=text), state.deliveries, keys=keys)


def row_of(state: EventState, as_of: datetime, run_id: str, event: EventInput) -> EventRow:
    """Return the row of an event in this state."""
    return EventRow(
        accepted_at=state.accepted_at,
        tenant=state.tenant,
        id=state.id,
        type=state.type,
        status=state.status,
        as_of=as_of,
        needs_attention=state.needs_attention,
        deliver_at=state.deliver_at,
        run_id=run_id,
        digest=event.digest,
        is_test=event.is_test or None,
    )


def with_data(row: EventRow, event: EventInput) -> EventRow:
    """Return the row with what only the event's data say."""
    return row._replace(size=len(to_json(event.data)), channels=" ".join(event.channels) or None)
