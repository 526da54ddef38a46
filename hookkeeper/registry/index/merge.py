"""Merge reports of runs into rows of the index. Pure.

A report can come twice, and after a later one. A row keeps the latest one, and counters follow the rows. Of two reports
of a run, the time decides; one of a later run counts more than those of the runs before, as their clocks may differ.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple

from hookkeeper.messages.event import FINAL, NEED_ATTENTION, Delivery, DeliveryStatus, status_of
from hookkeeper.messages.run_report import BEGINNING, RunReport
from hookkeeper.partition import PART, partition
from hookkeeper.registry.index import rollup
from hookkeeper.registry.index.rollup import Rollups, Subject
from hookkeeper.state_size import stored

Row = Mapping[str, Any]
shown_of_event = itemgetter("status", "needs_attention", "acknowledged", "deliver_at", "finished_at")
shown_of_delivery = itemgetter("status", "reason", "attempts", "status_code", "error", "next_attempt_at", "finished_at")
"""The columns whose changes are followed. A repeated report changes none of them."""


class EventKey(NamedTuple):
    accepted_at: datetime
    tenant: str
    event_id: str


class DeliveryKey(NamedTuple):
    event: EventKey
    delivery_id: str


Line = tuple[str, str]
"""Webhook and line."""


class Passed(NamedTuple):
    """A delivery that has left its line: later ones need not wait for it."""

    event: EventKey
    line: Line
    place: int
    """0 if it has left before: its record is repeated, and the call to the next one may be lost."""


class Delay(NamedTuple):
    """How long a delivery has taken, from the acceptance of its event or its `deliver_at`."""

    channel: str
    seconds: float


@dataclass(slots=True)
class Followed:
    """What has visibly changed of an event."""

    is_new: bool = False
    """The event had no row."""
    deliveries: set[str] = field(default_factory=set)
    """Ids of its deliveries that have changed."""


@dataclass(slots=True)
class IndexChanges:
    """Rows to write, what to add to counters, what has happened for the first time, and what has visibly changed."""

    events: dict[EventKey, Row] = field(default_factory=dict)
    deliveries: dict[DeliveryKey, Row] = field(default_factory=dict)
    rollups: Rollups = field(default_factory=dict)
    first_attempts: list[Delay] = field(default_factory=list)
    successes: list[Delay] = field(default_factory=list)
    followed: dict[EventKey, Followed] = field(default_factory=dict)
    passed: list[Passed] = field(default_factory=list)
    undecided: set[EventKey] = field(default_factory=set)
    """Events with several runs whose status may have changed: it follows from the rows of all their deliveries."""

    def follow(self, key: EventKey) -> Followed:
        """Note that an event has visibly changed, and return what has."""
        return self.followed.setdefault(key, Followed())


def key_of(report: RunReport) -> EventKey:
    return EventKey(report.accepted_at, report.tenant, report.event_id)


def merge(
    reports: Iterable[RunReport],
    events: Mapping[EventKey, Row],
    deliveries: Mapping[DeliveryKey, Row],
    tails: Mapping[Line, int] | None = None,
) -> IndexChanges:
    """Return the changes that the reports make to these rows, which are those of their events.

    `tails` has the last places in the lines of ordered deliveries.
    """
    changes = IndexChanges()
    places = Places(tails or {})
    for report in reports:
        key = key_of(report)
        before = changes.events.get(key) or events.get(key)
        is_later = _is_of_later_run(report, before)
        _merge_event(changes, report, before, is_later=is_later)
        removed = {delivery.id: _delivery_row(report, report.part, delivery) for delivery in report.deliveries_before}
        for part, delivery in _by_part(report):
            delivery_key = DeliveryKey(key, delivery.id)
            old = changes.deliveries.get(delivery_key) or deliveries.get(delivery_key) or removed.get(delivery.id)
            if is_later or old is None or report.as_of >= old["as_of"]:
                _merge_delivery(changes, report, part, delivery, old, places)
                event, new = changes.events.get(key) or events.get(key), changes.deliveries[delivery_key]
                due_at = max(key.accepted_at, (event and event["deliver_at"]) or key.accepted_at)
                _note_delays(changes, new, delivery, old, due_at)
                if event and event["acknowledged"] and _fails_anew(old, new):
                    changes.events[key] = {**event, "acknowledged": None, "needs_attention": True}
                    changes.follow(key)
    return changes


def decide(key: EventKey, old: Row | None, changes: IndexChanges, statuses: Set[DeliveryStatus]) -> None:
    """Let the status of an event with several runs follow from those of all its deliveries. The report of the last one
    that is final finishes the event.
    """
    row = changes.events[key]
    is_final = statuses <= FINAL
    was_final = old is not None and old["finished_at"] is not None
    changes.events[key] = new = {
        **row,
        "status": status_of(statuses, scheduled=row["status"] == "scheduled"),
        "needs_attention": needs_attention(statuses, row["acknowledged"]),
        "finished_at": (old["finished_at"] if old and was_final else row["as_of"]) if is_final else None,
    }
    if old is not None and shown_of_event(old) != shown_of_event(new):
        changes.follow(key)


def needs_attention(statuses: Set[DeliveryStatus], acknowledged: str | None) -> bool:
    """Return whether an event with deliveries of these statuses is to be looked at."""
    return acknowledged is None and not statuses.isdisjoint(NEED_ATTENTION)


def _fails_anew(old: Row | None, new: Row) -> bool:
    """Return whether a delivery has failed that had not, or was redelivered and has failed again."""
    return new["status"] == "failed" and (
        old is None or old["status"] != "failed" or old["attempts"] != new["attempts"]
    )


def _by_part(report: RunReport) -> Iterator[tuple[int, Delivery]]:
    """Iterate over the deliveries of a report, each with the number of the run that has it."""
    if len(report.deliveries) <= PART:
        yield from ((report.part, delivery) for delivery in report.deliveries)
    else:
        for part, deliveries in enumerate(partition(report.deliveries), start=1):
            yield from ((part, delivery) for delivery in deliveries)


def _is_of_later_run(report: RunReport, event: Row | None) -> bool:
    """Return whether a report is of a run that has followed the one in the row: the event's own run has followed its
    shared run, or is a redelivery.
    """
    progress = report.progress
    if event is None or event["parts"] > 1 or progress.shared_run or progress.run_id in ("", event["run_id"]):
        return False
    return event["shared_run"] is not None or bool(report.deliveries_before)


def _merge_event(changes: IndexChanges, report: RunReport, old: Row | None, *, is_later: bool) -> None:
    key, progress = key_of(report), report.progress
    if old is None:
        changes.events[key] = _event_row(report)
        followed = changes.follow(key)
        if not report.deliveries_before:
            rollup.count_event(changes.rollups, Subject(report.tenant, report.type), report.accepted_at)
            followed.is_new = True
        return
    if old["parts"] > 1 and report.as_of > BEGINNING:
        new = _with_sibling(old, report)
    elif is_later or report.as_of >= old["as_of"]:
        new = _event_row(report, old)
    elif old["size"] is None and progress.size is not None:  # the worker was faster than the API
        new = {**old, "size": progress.size, "channels": _channels(report, old)}
    else:
        return
    changes.events[key] = new
    if shown_of_event(old) != shown_of_event(new):
        changes.follow(key)


def _with_sibling(old: Row, report: RunReport) -> Row:
    """Return the row of an event with several runs after the report of one of them: it is scheduled until one of them
    delivers.
    """
    progress = report.progress
    has_begun = progress.status == "delivering" and report.as_of > BEGINNING
    return {
        **old,
        "status": "delivering" if has_begun else old["status"],
        "deliver_at": progress.deliver_at if report.as_of >= old["as_of"] else old["deliver_at"],
        "run_id": progress.run_id if report.part == 1 and progress.run_id else old["run_id"],
        "size": old["size"] if progress.size is None else progress.size,
        "channels": _channels(report, old),
        "as_of": max(old["as_of"], report.as_of),
    }


def _channels(report: RunReport, old: Row | None) -> str | None:
    """Return the channels of an event: its runs need not report them again."""
    return " ".join(report.progress.channels) or (old["channels"] if old else None)


def _event_row(report: RunReport, old: Row | None = None) -> Row:
    progress, acknowledged = report.progress, old and old["acknowledged"]
    return {
        "accepted_at": report.accepted_at,
        "tenant": report.tenant,
        "id": report.event_id,
        "type": report.type,
        "status": progress.status,
        "needs_attention": progress.needs_attention and acknowledged is None,
        "deliver_at": progress.deliver_at,
        "finished_at": report.finished_at,
        "run_id": progress.run_id,
        "digest": progress.digest,
        "shared_run": progress.shared_run,
        "size": old["size"] if old and progress.size is None else progress.size,
        "parts": report.parts,
        "as_of": report.as_of,
        "acknowledged": acknowledged,
        "channels": _channels(report, old),
    }


def takes_place(report: RunReport, delivery: Delivery) -> bool:
    """Return whether a delivery has a place in a line, or is to have one."""
    return delivery.enqueued and delivery.blocks_line and report.finished_at is None


class Places:
    """Gives places at the end of lines: by the time of acceptance, and behind what has a place."""

    def __init__(self, tails: Mapping[Line, int]) -> None:
        self._tails = {**tails}

    def place(self, report: RunReport, delivery: Delivery, old: Row | None) -> int | None:
        """Return the place of a delivery. One whose row was lost returns to about the place that it had."""
        if not takes_place(report, delivery):
            return None
        if old is not None and (old["place"] is not None or old["attempts"]):  # it has a place, or had one
            place: int | None = old["place"]
            return place
        line = delivery.webhook_id, delivery.line
        if old is None and report.as_of > BEGINNING:
            return _micros(report.accepted_at)
        at = report.accepted_at if old is None else report.as_of
        self._tails[line] = max(_micros(at), self._tails.get(line, 0) + 1)
        return self._tails[line]


def _micros(at: datetime) -> int:
    return (at - BEGINNING) // timedelta(microseconds=1)


def _merge_delivery(
    changes: IndexChanges, report: RunReport, part: int, delivery: Delivery, old: Row | None, places: Places
) -> None:
    place = places.place(report, delivery, old)
    counted = old["attempts"] if old else 0
    new = _delivery_row(report, part, delivery, place, counted)
    if delivery.line and not delivery.blocks_line:
        had = old["place"] if old else None
        changes.passed.append(Passed(key_of(report), (delivery.webhook_id, delivery.line), had or 0))
    if report.parts > 1 and (old is None or old["status"] != new["status"]):
        changes.undecided.add(key_of(report))
    subject = Subject(report.tenant, report.type, delivery.webhook_id, delivery.channel)
    added = [attempt for attempt in delivery.attempts if attempt.number > counted]
    rollup.count_attempts(changes.rollups, subject, added)
    if old is not None:
        rollup.count_end(changes.rollups, subject, old["status"], old["finished_at"], -1)
    rollup.count_end(changes.rollups, subject, new["status"], new["finished_at"])
    changes.deliveries[DeliveryKey(key_of(report), delivery.id)] = new
    if old is None or shown_of_delivery(old) != shown_of_delivery(new):
        changes.follow(key_of(report)).deliveries.add(delivery.id)


def _note_delays(changes: IndexChanges, new: Row, delivery: Delivery, old: Row | None, due_at: datetime) -> None:
    """Note the first attempt and the success of a delivery, unless they were noted before or it was redelivered."""
    if delivery.redelivered_from:
        return
    if delivery.attempts and delivery.attempts[0].number == 1 and not (old and old["attempts"]):
        changes.first_attempts.append(_delay(delivery, due_at, delivery.attempts[0].started_at))
    if new["status"] == "succeeded" and new["finished_at"] and not (old and old["status"] == "succeeded"):
        changes.successes.append(_delay(delivery, due_at, new["finished_at"]))


def _delay(delivery: Delivery, due_at: datetime, at: datetime) -> Delay:
    return Delay(delivery.channel, max((at - due_at).total_seconds(), 0.0))


def _delivery_row(report: RunReport, part: int, delivery: Delivery, place: int | None = None, counted: int = 0) -> Row:
    """Return the row of a delivery. It has the highest number of an attempt that it ever had, also after a reset: those
    up to it are counted (`counted`).
    """
    latest = delivery.attempts[-1] if delivery.attempts else None
    return {
        "accepted_at": report.accepted_at,
        "tenant": report.tenant,
        "event_id": report.event_id,
        "id": delivery.id,
        "part": part,
        "webhook_id": delivery.webhook_id,
        "channel": delivery.channel,
        "type": report.type,
        "status": delivery.status,
        "reason": delivery.reason,
        "attempts": max(delivery.attempts_made, counted),
        "status_code": latest.status_code if latest else None,
        "status_class": latest.status_code // 100 if latest and latest.status_code else None,
        "error": latest.error if latest else None,
        "next_attempt_at": None if delivery.is_final else delivery.next_attempt_at,
        "finished_at": _finished_at(report, delivery),
        "line": delivery.line if place else None,
        "place": place,
        "as_of": report.as_of,
        "state": None if report.as_of == BEGINNING else stored(delivery),
    }


def _finished_at(report: RunReport, delivery: Delivery) -> datetime | None:
    """Return when the latest attempt has ended, if it has decided the delivery; otherwise when the run has closed."""
    if not delivery.is_final:
        return None
    if delivery.status == "cancelled" or delivery.reason == "held_too_long" or not delivery.attempts:
        return report.finished_at
    latest = delivery.attempts[-1]
    return latest.started_at + timedelta(milliseconds=latest.duration_ms)
