"""Write what runs report to the rows of events, deliveries and counters: many reports in one transaction.

One transaction at a time, of all processes: it reads the rows that the reports are about, and adds to counters what
their changes amount to.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from hookkeeper import ids
from hookkeeper.content.search_terms import Key as SearchKey
from hookkeeper.crypto.keyring import Keyring
from hookkeeper.messages.run_report import BEGINNING, RunReport
from hookkeeper.registry.index import change_log, event_inputs, event_keys, lines, statements
from hookkeeper.registry.index.counter_rows import within_bounds
from hookkeeper.registry.index.event_keys import KeyedEvent
from hookkeeper.registry.index.lines import InLine
from hookkeeper.registry.index.merge import (
    DeliveryKey,
    EventKey,
    Followed,
    IndexChanges,
    Line,
    Row,
    decide,
    key_of,
    merge,
    needs_attention,
    takes_place,
)
from hookkeeper.registry.index.rollup import COUNTERS, Rollups, Subject, count_event, of_all_tenants
from hookkeeper.registry.transactions import Steps

Key = tuple[str, str]
"""Tenant and event id."""
ACCEPTED_EVENT = ("tenant", "id", "digest", "accepted_at", "shared_run", "parts", "acknowledged")
"""Columns of an `AcceptedEvent`."""


class AcceptedEvent(NamedTuple):
    """An event as its row names it: the run that it is in, and the digest of what was accepted."""

    tenant: str
    event_id: str
    digest: str
    accepted_at: datetime
    shared_run: str | None
    """The workflow id of a shared run; None: the event has a run of its own."""
    parts: int = 1
    """How many runs its deliveries are divided among."""
    acknowledged: str | None = None
    """An `Acknowledgement` as JSON."""

    @property
    def key(self) -> Key:
        return self.tenant, self.event_id


class Acceptance(NamedTuple):
    """An event that is being accepted, or was found in a run."""

    report: RunReport
    input: str | None = None
    """What starts its run: an `EventInput` as JSON."""
    keys: tuple[SearchKey, ...] = ()
    """What its data can be searched by."""

    @property
    def keyed(self) -> KeyedEvent:
        return KeyedEvent(*self.key, self.report.accepted_at, self.keys)

    @property
    def key(self) -> Key:
        return self.report.tenant, self.report.event_id

    @property
    def row(self) -> AcceptedEvent:
        report, progress = self.report, self.report.progress
        return AcceptedEvent(*self.key, progress.digest, report.accepted_at, progress.shared_run, report.parts)


class Written(NamedTuple):
    changes: IndexChanges
    earlier: list[AcceptedEvent | None]
    """For each new event: the one that was accepted with its id before."""
    behind: list[tuple[EventKey, InLine]]
    """For each event with a delivery that has left its line: the delivery that was behind it."""


def write(
    new: Sequence[Acceptance],
    reports: Sequence[RunReport],
    found: Sequence[Acceptance] = (),
    keyring: Keyring | None = None,
) -> Steps[Written]:
    """Accept new events, unless their ids are known, merge the reports of runs, and keep what was found of events."""
    yield statements.LOCK
    everything = [*(event.report for event in new), *reports]
    events = yield from _events(everything)
    accepted, earlier = _accept(new, events)
    current = [*accepted.values(), *(report for report in reports if _is_of_row(report, events))]
    deliveries = yield from _deliveries(current)
    tails = yield from lines.tails(_new_lines(current, deliveries))
    changes = merge(current, {key_of_row(row): row for row in events.values()}, deliveries, tails)
    yield from statements.upsert_deliveries(changes.deliveries.values(), keyring)
    for key in changes.undecided:
        decide(key, events.get((key.tenant, key.event_id)), changes, (yield from statements.statuses_of(key)))
    yield from statements.upsert_events(changes.events.values())
    present = changes.events.keys() | {key_of_row(row) for row in events.values()}
    kept = [event for event in new if event.key in accepted]
    kept += [event for event in found if key_of(event.report) in present]
    yield from event_inputs.insert([(key_of(event.report), event.input) for event in kept if event.input], keyring)
    yield from event_keys.insert([event.keyed for event in kept if event.keys], keyring)
    yield from _add(changes.rollups)
    yield from change_log.append(changes.followed)
    behind = yield from lines.next_of(changes.passed)
    return Written(changes, earlier, behind)


def _new_lines(reports: Sequence[RunReport], rows: Mapping[DeliveryKey, Row]) -> set[Line]:
    """Return the lines in which deliveries take their places now."""
    found: set[Line] = set()
    for report in reports:
        for delivery in report.deliveries:
            if takes_place(report, delivery):
                row = rows.get(DeliveryKey(key_of(report), delivery.id))
                if row is None or row["place"] is None:
                    found.add((delivery.webhook_id, delivery.line))
    return found


def _accept(
    new: Sequence[Acceptance], events: Mapping[Key, Row]
) -> tuple[dict[Key, RunReport], list[AcceptedEvent | None]]:
    """Return the reports of events that are new, and for each event the one that was accepted with its id before.

    A row with the same shared run is this event: the transaction took effect before, and is repeated.
    """
    accepted: dict[Key, RunReport] = {}
    earlier: list[AcceptedEvent | None] = []
    rows = {key: accepted_event(row) for key, row in events.items()}
    for event in new:
        wanted = event.row
        known = rows.get(event.key)
        if known is None:
            accepted[event.key] = event.report
            rows[event.key] = wanted
        is_same = known is None or (known.shared_run is not None and known.shared_run == wanted.shared_run)
        earlier.append(None if is_same else known)
    return accepted, earlier


def accepted_event(row: Row) -> AcceptedEvent:
    return AcceptedEvent(*(row[name] for name in ACCEPTED_EVENT))


def _is_of_row(report: RunReport, events: Mapping[Key, Row]) -> bool:
    """Return whether a report is about the event in the row, not about an earlier one with its id, and of its run, not
    of a shared run that this run has replaced.
    """
    row = events.get((report.tenant, report.event_id))
    if row is None or row["accepted_at"] != report.accepted_at:
        return row is None
    reporter = report.progress.shared_run
    return not (reporter and row["shared_run"] and ids.is_later_shared_run(row["shared_run"], reporter))


def move(keys: Sequence[Key], from_run: str, to_run: str | None, run_id: str) -> Steps[set[Key]]:
    """Let rows that name one shared run name another run; return their keys."""
    if not keys:
        return set()
    yield statements.LOCK
    moved = yield statements.move(keys, from_run, to_run, run_id)
    return {(tenant, event_id) for tenant, event_id in moved}


def acknowledge(tenant: str, event_ids: Sequence[str], acknowledged: str | None) -> Steps[dict[str, bool]]:
    """Acknowledge events that need attention, or undo it (None). Return the ids of those that have rows, and which of
    them are as wanted.
    """
    yield statements.LOCK
    rows = yield from statements.select_events([(tenant, event_id) for event_id in sorted(event_ids)])
    changed: dict[EventKey, Row] = {}
    for row in rows:
        key = key_of_row(row)
        if row["needs_attention"] if acknowledged else row["acknowledged"]:
            needed = not acknowledged and needs_attention((yield from statements.statuses_of(key)), None)
            changed[key] = {**row, "acknowledged": acknowledged, "needs_attention": needed}
    yield from statements.upsert_events(changed.values())
    yield from change_log.append({key: Followed() for key in changed})
    done = {key.event_id for key in changed}
    return {row["id"]: row["id"] in done or row["acknowledged"] == acknowledged for row in rows}


def remove(tenant: str, event_id: str) -> Steps[None]:
    """Remove an event with its deliveries. One that no run has had was not accepted, and is not counted."""
    yield statements.LOCK
    for row in (yield from statements.select_events([(tenant, event_id)])):
        if row["as_of"] == BEGINNING and not row["run_id"]:
            counters: Rollups = {}
            count_event(counters, Subject(tenant, row["type"]), row["accepted_at"], -1)
            yield from _add(counters)
    yield from statements.remove(tenant, event_id)


def key_of_row(row: Row) -> EventKey:
    return EventKey(row["accepted_at"], row["tenant"], row["id"])


def _events(reports: Sequence[RunReport]) -> Steps[dict[Key, Row]]:
    keys = sorted({(report.tenant, report.event_id) for report in reports})
    rows = yield from statements.select_events(keys)
    return {(row["tenant"], row["id"]): row for row in rows}


def _deliveries(reports: Sequence[RunReport]) -> Steps[dict[DeliveryKey, Row]]:
    keys = sorted({(*key_of(report), delivery.id) for report in reports for delivery in report.deliveries})
    rows = yield from statements.select_deliveries(keys)
    return {DeliveryKey(EventKey(row["accepted_at"], row["tenant"], row["event_id"]), row["id"]): row for row in rows}


def _add(counters: Rollups) -> Steps[None]:
    changed = {key: counts for key, counts in counters.items() if any(counts.values())}
    if not changed:
        return
    kept = (yield from within_bounds(changed)) | of_all_tenants(changed)
    yield from statements.add_counters(
        [(*key, *(counts.get(name, 0) for name in COUNTERS)) for key, counts in sorted(kept.items())]
    )
