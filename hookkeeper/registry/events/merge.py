"""Merge reports of runs into rows of the index. Pure.

A report can come twice, and after a later one. A row keeps the latest one, and counters follow the rows. Of two reports
of a run, the time decides; one of a later run counts more than those of the runs before, as their clocks may differ.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

from hookkeeper.messages.event import FINAL, NEED_ATTENTION, Delivery, status_of
from hookkeeper.messages.partition import PART, partition
from hookkeeper.messages.rows import DeliveryKey, DeliveryRow, EventKey, EventRow
from hookkeeper.messages.run_report import BEGINNING, RunReport
from hookkeeper.registry.events import rollup
from hookkeeper.registry.events.rollup import Rollups, Subject
from hookkeeper.state_size import stored
from hookkeeper.statuses import DeliveryStatus

shown_of_event = attrgetter("status", "needs_attention", "acknowledged", "deliver_at", "finished_at")
shown_of_delivery = attrgetter("status", "reason", "attempts", "status_code", "error", "next_attempt_at", "finished_at")
"""The columns whose changes are followed. A repeated report changes none of them."""
Line = tuple[str, str]
"""Webhook and line."""


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

    events: dict[EventKey, EventRow] = field(default_factory=dict)
    deliveries: dict[DeliveryKey, DeliveryRow] = field(default_factory=dict)
    rollups: Rollups = field(default_factory=dict)
    first_attempts: list[Delay] = field(default_factory=list)
    successes: list[Delay] = field(default_factory=list)
    followed: dict[EventKey, Followed] = field(default_factory=dict)
    passed: list[DeliveryRow] = field(default_factory=list)
    """Deliveries that have left their lines, with the places that they had: later ones need not wait for them. Place 0,
    if one has left before: its record is repeated, and the call to the next one may be lost."""
    to_alert: list[DeliveryRow] = field(default_factory=list)
    """Deliveries that have failed for good, whose webhooks want alerts."""
    undecided: set[EventKey] = field(default_factory=set)
    """Events with several runs whose status may have changed: it follows from the rows of all their deliveries."""

    def follow(self, key: EventKey) -> Followed:
        """Note that an event has visibly changed, and return what has."""
        return self.followed.setdefault(key, Followed())


def merge(
    reports: Iterable[RunReport],
    events: Mapping[EventKey, EventRow],
    deliveries: Mapping[DeliveryKey, DeliveryRow],
    tails: Mapping[Line, int] | None = None,
) -> IndexChanges:
    """Return the changes that the reports make to these rows, which are those of their events.

    `tails` has the last places in the lines of ordered deliveries.
    """
    changes = IndexChanges()
    places = Places(tails or {})
    for report in reports:
        key = report.key
        before = changes.events.get(key) or events.get(key)
        is_later = _is_of_later_run(report, before)
        _merge_event(changes, report, before, is_later=is_later)
        removed = {delivery.id: delivery_row(report, report.part, delivery) for delivery in report.deliveries_before}
        for part, delivery in _by_part(report):
            delivery_key = key, delivery.id
            old = changes.deliveries.get(delivery_key) or deliveries.get(delivery_key) or removed.get(delivery.id)
            if is_later or old is None or report.event.as_of >= old.as_of:
                _merge_delivery(changes, report, part, delivery, old, places)
                event, new = changes.events.get(key) or events.get(key), changes.deliveries[delivery_key]
                if delivery.alerts and _fails_anew(old, new):
                    changes.to_alert.append(new)
                due_at = max(key.accepted_at, (event and event.deliver_at) or key.accepted_at)
                _note_delays(changes, new, delivery, old, due_at)
                if event and event.acknowledged and _fails_anew(old, new):
                    changes.events[key] = event._replace(acknowledged=None, needs_attention=True)
                    changes.follow(key)
    return changes


def decide(key: EventKey, old: EventRow | None, changes: IndexChanges, statuses: Set[DeliveryStatus]) -> None:
    """Let the status of an event with several runs follow from those of all its deliveries. The report of the last one
    that is final finishes the event.
    """
    row = changes.events[key]
    was_finished = old and old.finished_at
    changes.events[key] = new = row._replace(
        status=status_of(statuses, scheduled=row.status == "scheduled"),
        needs_attention=needs_attention(statuses, row.acknowledged),
        finished_at=(was_finished or row.as_of) if statuses <= FINAL else None,
    )
    if old is not None and shown_of_event(old) != shown_of_event(new):
        changes.follow(key)


def needs_attention(statuses: Set[DeliveryStatus], acknowledged: str | None) -> bool:
    """Return whether an event with deliveries of these statuses is to be looked at."""
    return acknowledged is None and not statuses.isdisjoint(NEED_ATTENTION)


def _fails_anew(old: DeliveryRow | None, new: DeliveryRow) -> bool:
    """Return whether a delivery has failed that had not, or was redelivered and has failed again."""
    return new.status == "failed" and (old is None or old.status != "failed" or old.attempts != new.attempts)


def _by_part(report: RunReport) -> Iterator[tuple[int, Delivery]]:
    """Iterate over the deliveries of a report, each with the number of the run that has it."""
    if len(report.deliveries) <= PART:
        yield from ((report.part, delivery) for delivery in report.deliveries)
    else:
        for part, deliveries in enumerate(partition(report.deliveries), start=1):
            yield from ((part, delivery) for delivery in deliveries)


def _is_of_later_run(report: RunReport, row: EventRow | None) -> bool:
    """Return whether a report is of a run that has followed the one in the row: the event's own run has followed its
    shared run, or is a redelivery.
    """
    event = report.event
    if row is None or row.parts > 1 or event.shared_run or event.run_id in ("", row.run_id):
        return False
    return row.shared_run is not None or bool(report.deliveries_before)


def _merge_event(changes: IndexChanges, report: RunReport, old: EventRow | None, *, is_later: bool) -> None:
    event, key = report.event, report.key
    if old is None:
        changes.events[key] = event
        followed = changes.follow(key)
        if not report.deliveries_before and not event.is_test:
            rollup.count_event(changes.rollups, Subject(event.tenant, event.type), event.status, event.accepted_at)
            followed.is_new = True
        return
    if old.parts > 1 and event.as_of > BEGINNING:
        new = _with_sibling(old, report)
    elif is_later or event.as_of >= old.as_of:
        new = _with_data(event, old)._replace(
            needs_attention=event.needs_attention and old.acknowledged is None, acknowledged=old.acknowledged
        )
    elif old.size is None and event.size is not None:  # a run has recorded it since a restore
        new = _with_data(old, event)
    else:
        return
    changes.events[key] = new
    if shown_of_event(old) != shown_of_event(new):
        changes.follow(key)


def _with_sibling(old: EventRow, report: RunReport) -> EventRow:
    """Return the row of an event with several runs after the report of one of them: it is scheduled until one of them
    delivers.
    """
    event = report.event
    return _with_data(old, event)._replace(
        status="delivering" if event.status == "delivering" else old.status,
        deliver_at=event.deliver_at if event.as_of >= old.as_of else old.deliver_at,
        run_id=event.run_id if report.part == 1 and event.run_id else old.run_id,
        as_of=max(old.as_of, event.as_of),
    )


def _with_data(row: EventRow, other: EventRow) -> EventRow:
    """Return the row with what only the event's data say, from either: runs need not report it again."""
    size = other.size if row.size is None else row.size
    return row._replace(size=size, channels=row.channels or other.channels)


def takes_place(report: RunReport, delivery: Delivery) -> bool:
    """Return whether a delivery has a place in a line, or is to have one."""
    return delivery.enqueued and delivery.blocks_line and report.event.finished_at is None


class Places:
    """Gives places at the end of lines: by the time of acceptance, and behind what has a place."""

    def __init__(self, tails: Mapping[Line, int]) -> None:
        self._tails = {**tails}

    def place(self, report: RunReport, delivery: Delivery, old: DeliveryRow | None) -> int | None:
        """Return the place of a delivery. One whose row was lost returns to about the place that it had."""
        if not takes_place(report, delivery):
            return None
        if old is not None and (old.place is not None or old.attempts):  # it has a place, or had one
            return old.place
        line = delivery.webhook_id, delivery.line
        event = report.event
        if old is None and event.as_of > BEGINNING:
            return _micros(event.accepted_at)
        at = event.accepted_at if old is None else event.as_of
        self._tails[line] = max(_micros(at), self._tails.get(line, 0) + 1)
        return self._tails[line]


def _micros(at: datetime) -> int:
    return (at - BEGINNING) // timedelta(microseconds=1)


def _merge_delivery(
    changes: IndexChanges,
    report: RunReport,
    part: int,
    delivery: Delivery,
    old: DeliveryRow | None,
    places: Places,
) -> None:
    event, key = report.event, report.key
    place = places.place(report, delivery, old)
    counted = old.attempts if old else 0
    new = delivery_row(report, part, delivery, place, counted)
    if delivery.line and not delivery.blocks_line:
        changes.passed.append(new._replace(line=delivery.line, place=(old and old.place) or 0))
    if event.parts > 1 and (old is None or old.status != new.status):
        changes.undecided.add(key)
    if not event.is_test:
        subject = Subject(event.tenant, event.type, delivery.webhook_id, delivery.channel)
        added = [attempt for attempt in delivery.attempts if attempt.number > counted]
        rollup.count_attempts(changes.rollups, subject, added)
        if old is not None:
            rollup.count_end(changes.rollups, subject, old.status, old.finished_at, -1)
        rollup.count_end(changes.rollups, subject, new.status, new.finished_at)
    changes.deliveries[new.key] = new
    if old is None or shown_of_delivery(old) != shown_of_delivery(new):
        changes.follow(key).deliveries.add(delivery.id)


def _note_delays(
    changes: IndexChanges, new: DeliveryRow, delivery: Delivery, old: DeliveryRow | None, due_at: datetime
) -> None:
    """Note the first attempt and the success of a delivery, unless they were noted before or it was redelivered."""
    if delivery.redelivered_from:
        return
    if delivery.attempts and delivery.attempts[0].number == 1 and not (old and old.attempts):
        changes.first_attempts.append(_delay(delivery, due_at, delivery.attempts[0].started_at))
    if new.status == "succeeded" and new.finished_at and not (old and old.status == "succeeded"):
        changes.successes.append(_delay(delivery, due_at, new.finished_at))


def _delay(delivery: Delivery, due_at: datetime, at: datetime) -> Delay:
    return Delay(delivery.channel, max((at - due_at).total_seconds(), 0.0))


def delivery_row(
    report: RunReport, part: int, delivery: Delivery, place: int | None = None, counted: int = 0
) -> DeliveryRow:
    """Return the row of a delivery. It has the highest number of an attempt that it ever had, also after a reset: those
    up to it are counted (`counted`).
    """
    event = report.event
    latest = delivery.attempts[-1] if delivery.attempts else None
    return DeliveryRow(
        *event.key,
        id=delivery.id,
        part=part,
        webhook_id=delivery.webhook_id,
        channel=delivery.channel,
        type=event.type,
        status=delivery.status,
        reason=delivery.reason,
        attempts=max(delivery.attempts_made, counted),
        status_code=latest.status_code if latest else None,
        status_class=latest.status_code // 100 if latest and latest.status_code else None,
        error=latest.error if latest else None,
        next_attempt_at=None if delivery.is_final else delivery.next_attempt_at,
        finished_at=_finished_at(event, delivery),
        line=delivery.line if place else None,
        place=place,
        as_of=event.as_of,
        state=None if event.as_of == BEGINNING else stored(delivery),
    )


def _finished_at(event: EventRow, delivery: Delivery) -> datetime | None:
    """Return when the latest attempt has ended, if it has decided the delivery; otherwise when the run has closed."""
    if not delivery.is_final:
        return None
    if delivery.status == "cancelled" or delivery.reason == "held_too_long" or not delivery.attempts:
        return event.finished_at
    latest = delivery.attempts[-1]
    return latest.started_at + timedelta(milliseconds=latest.duration_ms)
