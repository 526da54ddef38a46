"""Write what runs report to the rows of events, deliveries and counters: many reports in one transaction.

One transaction at a time, of all processes: it reads the rows that the reports are about, and adds to counters what
their changes amount to.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hookkeeper import ids
from hookkeeper.crypto.keyring import Keyring
from hookkeeper.messages.rows import DeliveryKey, DeliveryRow, EventKey, EventRow
from hookkeeper.messages.run_report import BEGINNING, RunReport
from hookkeeper.registry.events import change_log, event_inputs, event_keys, lines, pending_alerts, statements
from hookkeeper.registry.events.counter_rows import within_bounds
from hookkeeper.registry.events.merge import Followed, IndexChanges, Line, decide, merge, needs_attention, takes_place
from hookkeeper.registry.events.rollup import COUNTERS, Rollups, Subject, count_event, in_periods, of_all_tenants
from hookkeeper.registry.storage.transactions import Steps

Name = tuple[str, str]
"""Tenant and event id."""


class Written(NamedTuple):
    changes: IndexChanges
    earlier: list[EventRow | None]
    """For each new event: the one that was accepted with its id before."""
    behind: list[tuple[EventKey, DeliveryRow]]
    """For each event with a delivery that has left its line: the delivery that was behind it."""


def write(new: Sequence[RunReport], reports: Sequence[RunReport], keyring: Keyring | None = None) -> Steps[Written]:
    """Accept new events, unless their ids are known, and merge the reports of runs into the rows."""
    yield statements.LOCK
    events = yield from _events([*new, *reports])
    accepted, earlier = _accept(new, events)
    current = [*accepted, *(report for report in reports if _is_of_row(report.event, events.get(report.event.name)))]
    deliveries = yield from _deliveries(current)
    tails = yield from lines.tails(_new_lines(current, deliveries))
    changes = merge(current, {row.key: row for row in events.values()}, deliveries, tails)
    yield from statements.upsert_deliveries(changes.deliveries.values())
    for key in changes.undecided:
        decide(key, events.get(key[1:]), changes, (yield from statements.statuses_of(key)))
    yield from statements.upsert_events(changes.events.values())
    present = changes.events.keys() | {row.key for row in events.values()}
    kept = [report for report in (*accepted, *reports) if report.key in present]
    yield from event_inputs.insert([report.event for report in kept if report.event.input])
    yield from event_keys.insert([(report.key, report.keys) for report in kept if report.keys], keyring)
    yield from _add(changes.rollups)
    yield from change_log.append(changes.followed)
    found = {report.key for report in reports if report.event.input}  # in histories: their failures are old
    yield from pending_alerts.note(row for row in changes.to_alert if row.event not in found)
    behind = yield from lines.next_of(changes.passed)
    return Written(changes, earlier, behind)


def _new_lines(reports: Sequence[RunReport], rows: Mapping[DeliveryKey, DeliveryRow]) -> set[Line]:
    """Return the lines in which deliveries take their places now."""
    found: set[Line] = set()
    for report in reports:
        for delivery in report.deliveries:
            if takes_place(report, delivery):
                row = rows.get((report.key, delivery.id))
                if row is None or row.place is None:
                    found.add((delivery.webhook_id, delivery.line))
    return found


def _accept(new: Iterable[RunReport], events: Mapping[Name, EventRow]) -> tuple[list[RunReport], list[EventRow | None]]:
    """Return the reports of events that are new, and for each event the one that was accepted with its id before."""
    accepted: list[RunReport] = []
    earlier: list[EventRow | None] = []
    rows = {**events}
    for report in new:
        wanted = report.event
        known = rows.get(wanted.name)
        if known is None:
            accepted.append(report)
            rows[wanted.name] = wanted
        earlier.append(None if known is None or _is_same(known, wanted) else known)
    return accepted, earlier


def _is_same(row: EventRow, new: EventRow) -> bool:
    """Return whether the row is of this acceptance: the transaction took effect before, and is repeated."""
    return row.key == new.key and (row.shared_run, row.digest) == (new.shared_run, new.digest)


def _is_of_row(event: EventRow, row: EventRow | None) -> bool:
    """Return whether a report is about the event in the row, not about an earlier one with its id, and of its run, not
    of a shared run that this run has replaced.
    """
    if row is None or row.accepted_at != event.accepted_at:
        return row is None
    return not (event.shared_run and row.shared_run and ids.is_later_shared_run(row.shared_run, event.shared_run))


def move(names: Sequence[Name], from_run: str, to_run: str | None, run_id: str) -> Steps[set[Name]]:
    """Let rows that name one shared run name another run; return their names."""
    if not names:
        return set()
    yield statements.LOCK
    moved = yield statements.move(names, from_run, to_run, run_id)
    return {(tenant, event_id) for tenant, event_id in moved}


def acknowledge(tenant: str, event_ids: Sequence[str], acknowledged: str | None) -> Steps[dict[str, bool]]:
    """Acknowledge events that need attention, or undo it (None). Return the ids of those that have rows, and which of
    them are as wanted.
    """
    yield statements.LOCK
    rows = yield from statements.select_events([(tenant, event_id) for event_id in sorted(event_ids)])
    changed: dict[EventKey, EventRow] = {}
    for row in rows:
        if row.needs_attention if acknowledged else row.acknowledged:
            needed = not acknowledged and needs_attention((yield from statements.statuses_of(row.key)), None)
            changed[row.key] = row._replace(acknowledged=acknowledged, needs_attention=needed)
    yield from statements.upsert_events(changed.values())
    yield from change_log.append({key: Followed() for key in changed})
    return {row.id: row.key in changed or row.acknowledged == acknowledged for row in rows}


def remove(tenant: str, event_id: str) -> Steps[None]:
    """Remove an event with its deliveries. One that no run has had was not accepted, and is not counted."""
    yield statements.LOCK
    for row in (yield from statements.select_events([(tenant, event_id)])):
        if row.as_of == BEGINNING and not row.run_id and not row.is_test:
            counters: Rollups = {}
            count_event(counters, Subject(tenant, row.type), row.status, row.accepted_at, -1)
            yield from _add(counters)
    yield from statements.remove(tenant, event_id)


def _events(reports: Sequence[RunReport]) -> Steps[dict[Name, EventRow]]:
    rows = yield from statements.select_events(sorted({report.event.name for report in reports}))
    return {row.name: row for row in rows}


def _deliveries(reports: Sequence[RunReport]) -> Steps[dict[DeliveryKey, DeliveryRow]]:
    keys = sorted({(*report.key, delivery.id) for report in reports for delivery in report.deliveries})
    rows = yield from statements.select_deliveries(keys)
    return {row.key: row for row in rows}


def _add(minutes: Rollups) -> Steps[None]:
    changed = in_periods({key: counts for key, counts in minutes.items() if any(counts.values())})
    if not changed:
        return
    kept = (yield from within_bounds(changed)) | of_all_tenants(changed)
    yield from statements.add_counters(
        [(*key, *(counts.get(name, 0) for name in COUNTERS)) for key, counts in sorted(kept.items())]
    )
