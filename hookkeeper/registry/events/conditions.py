"""The conditions of a search, each stated once: for rows in SQL, and for a row that was read.

Lists and exports, bulk actions and streams use the same conditions, so they cannot differ.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, not_, or_

from hookkeeper.content.search_terms import Key as SearchKey
from hookkeeper.kinds import Channel
from hookkeeper.messages.rows import DeliveryRow, EventRow
from hookkeeper.statuses import DeliveryStatus, EventStatus
from hookkeeper.times import utc_now

RETRYING_FOR_LONG = timedelta(minutes=15)
"""Since acceptance. Most deliveries that fail once succeed at one of the next attempts."""
AFTER_ALL_IDS = "~"
"""Sorts after every character of an event id."""


class StatusCodes(NamedTuple):
    """Status codes from `first` to `last`: one, or a class such as 500 to 599."""

    first: int
    last: int

    @property
    def status_class(self) -> int:
        return self.first // 100

    @property
    def is_class(self) -> bool:
        return self.last == self.first + 99


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Conditions; None and no values mean any. Those on a delivery have to be met by a single one."""

    tenant: str | None = None
    types: tuple[str, ...] = ()
    id_prefix: str | None = None
    """Text that the event's id begins with."""
    since: datetime | None = None
    """Accepted at this time or later."""
    until: datetime | None = None
    """Accepted before this time."""
    statuses: tuple[EventStatus, ...] = ()
    needs_attention: bool | None = None
    """True: with a delivery that `needs_attention`. False: acknowledged, or with none that is retrying,
    held or failed.
    """
    acknowledged: bool | None = None
    webhook: str | None = None
    delivery_statuses: tuple[DeliveryStatus, ...] = ()
    status_codes: StatusCodes | None = None
    """Status codes of the latest attempt, as `error` is its error."""
    error: str | None = None
    min_attempts: int | None = None
    channel: Channel | None = None
    keys: tuple[SearchKey, ...] = ()
    """What the event's data has at declared paths, and its channels. They need a tenant."""
    oldest_first: bool = False
    """The order of pages. By default the newest come first."""


def delivery_needs_attention(status: DeliveryStatus, accepted_at: datetime, now: datetime) -> bool:
    """Return whether a delivery has failed, or retries for long. One that is held, is on purpose."""
    return status == "failed" or (status == "retrying" and accepted_at <= now - RETRYING_FOR_LONG)


def status_codes(text: str) -> StatusCodes:
    """Convert `503` or `5xx`."""
    return StatusCodes(int(text.replace("x", "0")), int(text.replace("x", "9")))


class Condition(NamedTuple):
    """What a column has to meet, or several together."""

    columns: tuple[str, ...]
    sql: Callable[..., ColumnElement[bool]]
    holds: Callable[..., bool]
    """The same for values."""


class Matcher:
    """Compares rows that were read with a search. Keys of a search are not compared: they are no columns."""

    def __init__(self, search: Search) -> None:
        shared = *on_tenant(search), *on_id(search, "id"), *on_type(search), *on_time(search)
        self._on_event = *shared, *on_event(search)
        self._on_delivery = tuple(on_delivery(search))

    def meets(self, event: EventRow, deliveries: Iterable[DeliveryRow]) -> bool:
        """Return whether an event meets the search, and one of these deliveries its conditions on deliveries."""
        return _hold(self._on_event, event) and (not self._on_delivery or any(map(self.concerns, deliveries)))

    def concerns(self, delivery: DeliveryRow) -> bool:
        """Return whether a delivery meets the conditions on a single delivery."""
        return _hold(self._on_delivery, delivery)


def _hold(conditions: Iterable[Condition], row: EventRow | DeliveryRow) -> bool:
    return all(each.holds(*(getattr(row, name) for name in each.columns)) for each in conditions)


def on_tenant(search: Search) -> Iterator[Condition]:
    if search.tenant is not None:
        yield equals("tenant", search.tenant)


def on_id(search: Search, event_id: str) -> Iterator[Condition]:
    """Yield the condition on the event's id; `event_id` is the name of its column."""
    if (prefix := search.id_prefix) is not None:
        yield Condition((event_id,), lambda column: begins_with(column, prefix), lambda value: value.startswith(prefix))


def on_type(search: Search) -> Iterator[Condition]:
    if search.types:
        yield one_of("type", search.types)


def on_time(search: Search) -> Iterator[Condition]:
    if (since := search.since) is not None:
        yield at_least("accepted_at", since)
    if (until := search.until) is not None:
        yield Condition(("accepted_at",), lambda column: column < until, lambda value: value < until)


def on_event(search: Search) -> Iterator[Condition]:
    if search.statuses:
        yield one_of("status", search.statuses)
    if (is_wanted := search.needs_attention) is not None:
        yield Condition(
            ("needs_attention",),
            lambda column: column if is_wanted else not_(column),
            lambda value: bool(value) is is_wanted,
        )
    if (is_acknowledged := search.acknowledged) is not None:
        yield Condition(
            ("acknowledged",),
            lambda column: column.is_not(None) if is_acknowledged else column.is_(None),
            lambda value: (value is not None) is is_acknowledged,
        )


def on_delivery(search: Search) -> Iterator[Condition]:
    """Yield the conditions that a single delivery has to meet."""
    if search.webhook is not None:
        yield equals("webhook_id", search.webhook)
    if search.delivery_statuses:
        yield one_of("status", search.delivery_statuses)
    if search.needs_attention:
        long_ago = utc_now() - RETRYING_FOR_LONG
        yield Condition(
            ("status", "accepted_at"),
            lambda status, accepted: or_(status == "failed", and_(status == "retrying", accepted <= long_ago)),
            lambda status, accepted: delivery_needs_attention(status, accepted, utc_now()),
        )
    if (codes := search.status_codes) is not None:
        yield _has_status_code(codes)
    if search.error is not None:
        yield equals("error", search.error)
    if search.min_attempts is not None:
        yield at_least("attempts", search.min_attempts)
    if search.channel is not None:
        yield equals("channel", search.channel)


def _has_status_code(codes: StatusCodes) -> Condition:
    """Compare a whole class with its own column, which an index has: no row is read for it."""
    if codes.is_class:
        return equals("status_class", codes.status_class)
    return Condition(
        ("status_code",),
        lambda column: column.between(codes.first, codes.last),
        lambda value: value is not None and codes.first <= value <= codes.last,
    )


def begins_with(column: ColumnElement[Any], prefix: str) -> ColumnElement[bool]:
    """Compare an event's id with the first and the last text that begin with the prefix, which can use an index."""
    return and_(column >= prefix, column < prefix + AFTER_ALL_IDS)


def equals(name: str, wanted: str | int) -> Condition:
    return Condition((name,), lambda column: column == wanted, lambda value: value == wanted)


def one_of(name: str, wanted: Sequence[str]) -> Condition:
    return Condition((name,), lambda column: column.in_(wanted), lambda value: value in wanted)


def at_least(name: str, least: Any) -> Condition:
    return Condition((name,), lambda column: column >= least, lambda value: value >= least)
