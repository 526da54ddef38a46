"""The conditions of a search in the index, as conditions on columns."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, not_

from hookkeeper.messages.event import Channel, DeliveryStatus, EventStatus

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
    webhook: str | None = None
    delivery_statuses: tuple[DeliveryStatus, ...] = ()
    status_codes: StatusCodes | None = None
    """Status codes of the latest attempt, as `error` is its error."""
    error: str | None = None
    min_attempts: int | None = None
    channel: Channel | None = None


class Condition(NamedTuple):
    """What a column has to meet."""

    column: str
    on: Callable[[ColumnElement[Any]], ColumnElement[bool]]


def status_codes(text: str) -> StatusCodes:
    """Convert `503` or `5xx`."""
    return StatusCodes(int(text.replace("x", "0")), int(text.replace("x", "9")))


def common_conditions(search: Search, event_id: str) -> Iterator[Condition]:
    """Yield the conditions on columns that events and deliveries have; `event_id` is the name of one of them."""
    if search.tenant is not None:
        yield _equals("tenant", search.tenant)
    if search.types:
        yield Condition("type", lambda column: column.in_(search.types))
    if (prefix := search.id_prefix) is not None:
        yield Condition(event_id, lambda column: begins_with(column, prefix))


def begins_with(column: ColumnElement[Any], prefix: str) -> ColumnElement[bool]:
    """Compare an event's id with the first and the last text that begin with the prefix, which can use an index."""
    return and_(column >= prefix, column < prefix + AFTER_ALL_IDS)


def event_conditions(search: Search) -> Iterator[Condition]:
    if search.statuses:
        yield Condition("status", lambda column: column.in_(search.statuses))
    if search.needs_attention is not None:
        yield Condition("needs_attention", (lambda column: column) if search.needs_attention else not_)


def delivery_conditions(search: Search) -> Iterator[Condition]:
    if search.webhook is not None:
        yield _equals("webhook_id", search.webhook)
    if search.delivery_statuses:
        yield Condition("status", lambda column: column.in_(search.delivery_statuses))
    if (codes := search.status_codes) is not None:
        yield _with_status(codes)
    if search.error is not None:
        yield _equals("error", search.error)
    if (attempts := search.min_attempts) is not None:
        yield Condition("attempts", lambda column: column >= attempts)
    if search.channel is not None:
        yield _equals("channel", search.channel)


def _with_status(codes: StatusCodes) -> Condition:
    """Compare a whole class with its own column, which an index has: no row is read for it."""
    if codes.is_class:
        return _equals("status_class", codes.status_class)
    return Condition("status_code", lambda column: column.between(codes.first, codes.last))


def _equals(name: str, value: str | int) -> Condition:
    return Condition(name, lambda column: column == value)
