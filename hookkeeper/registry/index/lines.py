"""The order of deliveries: those of an ordered webhook, or of one of its keys, are a line.

A delivery takes its place when its event is accepted or due, in the transaction that writes its row. Transactions are
written one at a time, so an event that is accepted after the 202 of another one is behind it. It keeps its place until
later deliveries need not wait for it any more. The first one in a line may be sent.
"""

import json
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, func, literal, select

from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.policy import OrderPolicy
from hookkeeper.registry.database import Database
from hookkeeper.registry.direct_reads import CompiledRead, DirectReads
from hookkeeper.registry.index.merge import EventKey, Line, Passed
from hookkeeper.registry.index.statements import LOCK
from hookkeeper.registry.index.tables import deliveries, events
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.transactions import Statement, Steps, Transactions

MAX_AHEAD = 60
"""Deliveries ahead of another one that are counted."""
MAX_WAITING = 10_000
"""Deliveries in the lines of a webhook that are counted."""
MAX_LINES = 100
"""Lines of a webhook whose first deliveries are called when the webhook is changed. Those behind them follow."""

TAILS = {
    "sqlite": """
SELECT json_extract(k.value, '$[0]'), json_extract(k.value, '$[1]'), (SELECT max(place) FROM deliveries d WHERE
  d.webhook_id = json_extract(k.value, '$[0]') AND d.line = json_extract(k.value, '$[1]') AND place IS NOT NULL)
FROM json_each(?) k""",
    "postgresql": """
SELECT v ->> 0, v ->> 1, (SELECT max(place) FROM deliveries d WHERE
  d.webhook_id = v ->> 0 AND d.line = v ->> 1 AND place IS NOT NULL) FROM json_array_elements($1::json) k (v)""",
}
NEXT = {
    "sqlite": """
SELECT k.key, d.tenant, d.event_id, d.part, d.webhook_id FROM json_each(?) k CROSS JOIN deliveries d ON
  d.webhook_id = json_extract(k.value, '$[0]') AND d.line = json_extract(k.value, '$[1]') AND place IS NOT NULL AND
  place = (SELECT min(place) FROM deliveries WHERE webhook_id = json_extract(k.value, '$[0]')
    AND line = json_extract(k.value, '$[1]') AND place IS NOT NULL AND place > json_extract(k.value, '$[2]'))""",
    "postgresql": """
SELECT n - 1, d.tenant, d.event_id, d.part, d.webhook_id
FROM json_array_elements($1::json) WITH ORDINALITY k (v, n) CROSS JOIN LATERAL (
  SELECT * FROM deliveries WHERE webhook_id = v ->> 0 AND line = v ->> 1 AND place IS NOT NULL
    AND place > (v ->> 2)::bigint ORDER BY place LIMIT 1) d""",
}
LEAVE = {
    dialect: "UPDATE deliveries SET place = NULL, line = NULL"  # noqa: S608 - constants
    f" WHERE webhook_id = {marks[0]} AND line = {marks[1]} AND place = {marks[2]}"
    for dialect, marks in (("sqlite", ("?1", "?2", "?3")), ("postgresql", ("$1", "$2", "$3")))
}
PASS_FAILED = {
    dialect: f"UPDATE deliveries SET place = NULL, line = NULL"  # noqa: S608 - constants
    f" WHERE webhook_id = {mark} AND place IS NOT NULL AND attempts > 0"
    for dialect, mark in (("sqlite", "?1"), ("postgresql", "$1"))
}


class InLine(NamedTuple):
    """A delivery in a line, by its run."""

    tenant: str
    event_id: str
    part: int
    webhook_id: str


class Place(NamedTuple):
    """The place of a delivery, and how many are ahead of it."""

    place: int | None
    """None: it has none."""
    ordered: OrderPolicy | None
    """The present policy of its webhook; None: it is not ordered any more, or deleted."""
    ahead: int


class Head(NamedTuple):
    """The first delivery in a line, by the row of its event."""

    key: EventKey
    part: int
    line: str
    place: int
    delivery: str
    is_recorded: bool
    """Its run has recorded a step of it."""


def tails(lines: Collection[Line]) -> Steps[dict[Line, int]]:
    """Return the last place in each line that has any."""
    if not lines:
        return {}
    found = yield Statement(TAILS, (json.dumps(sorted(lines)),))
    return {(webhook_id, line): place for webhook_id, line, place in found if place is not None}


def next_of(passed: Iterable[Passed]) -> Steps[list[tuple[EventKey, InLine]]]:
    """Return the delivery behind each that has left its line."""
    left = list(passed)
    if not left:
        return []
    found = yield Statement(NEXT, (json.dumps([(*each.line, each.place) for each in left]),))
    return [(left[n].event, InLine(*row)) for n, *row in found]


class Lines:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database, reads: DirectReads, transactions: Transactions) -> None:
        self._database = database
        self._reads = reads
        self._transactions = transactions
        self._place = CompiledRead(_place_of_delivery(), reads.dialect)

    async def place(self, tenant: str, event_id: str, delivery_id: str) -> Place | None:
        """Return the place of a delivery; None without a row. At most `MAX_AHEAD` ahead of it are counted."""
        parameters = {"tenant": tenant, "event": event_id, "delivery": delivery_id}
        rows = await self._reads.fetch(self._place, tenant, parameters)
        return Place(*rows[0]) if rows else None

    async def head(self, webhook_id: str, line: str | None = None) -> Head | None:
        """Return the first delivery of a line, or of all lines of a webhook."""
        row, event = deliveries.c, events.c
        same_event = and_(event.accepted_at == row.accepted_at, event.tenant == row.tenant, event.id == row.event_id)
        columns = row.part, row.line, row.place, row.id, row.as_of > BEGINNING
        query = select(event.accepted_at, event.tenant, event.id, *columns).join_from(deliveries, events, same_event)
        query = query.where(row.webhook_id == webhook_id, row.place.is_not(None)).order_by(row.place).limit(1)
        async with self._database.read() as session:
            found = (await session.execute(query if line is None else query.where(row.line == line))).first()
        return None if found is None else Head(EventKey(*found[:3]), *found[3:])

    async def behind(self, ahead: InLine) -> InLine | None:
        """Return the delivery behind another one that is still in its line."""
        own, other, event = deliveries.alias(), deliveries.alias(), events.c
        same_event = own.c.accepted_at == event.accepted_at, own.c.tenant == event.tenant, own.c.event_id == event.id
        is_behind = other.c.webhook_id == own.c.webhook_id, other.c.line == own.c.line, other.c.place > own.c.place
        query = select(*(other.c[name] for name in InLine._fields)).select_from(events)
        query = query.join(own, and_(*same_event)).join(other, and_(*is_behind))
        query = query.where(event.id == ahead.event_id, event.tenant == ahead.tenant, own.c.id == ahead.webhook_id)
        async with self._database.read() as session:
            found = (await session.execute(query.order_by(other.c.place).limit(1))).first()
        return InLine(*found) if found else None

    async def leave(self, webhook_id: str, head: Head) -> None:
        """Let the others pass the first delivery of a line."""
        await self._transactions.run(lambda: _locked(Statement(LEAVE, (webhook_id, head.line, head.place))))

    async def count(self, webhook_id: str) -> int:
        """Count the deliveries in the lines of a webhook, `MAX_WAITING` at most."""
        waiting = select(literal(1)).where(deliveries.c.webhook_id == webhook_id, deliveries.c.place.is_not(None))
        async with self._database.read() as session:
            return await session.scalar(select(func.count()).select_from(waiting.limit(MAX_WAITING).subquery())) or 0

    async def pass_failed(self, webhook_id: str) -> None:
        """Let no delivery wait any more for one that has failed: the webhook is not ordered any more, or skips it."""
        await self._transactions.run(lambda: _locked(Statement(PASS_FAILED, (webhook_id,))))

    async def foremost(self, webhook_id: str) -> list[InLine]:
        """Return the first two deliveries in each line of a webhook, of `MAX_LINES` lines at most."""
        row = deliveries.c
        number = func.row_number().over(partition_by=row.line, order_by=row.place).label("number")
        columns = row.tenant, row.event_id, row.part, row.webhook_id
        numbered = select(*columns, number).where(row.webhook_id == webhook_id, row.place.is_not(None)).subquery()
        query = select(*(numbered.c[name] for name in InLine._fields)).where(numbered.c.number <= 2)
        async with self._database.read() as session:
            return [InLine(*found) for found in await session.execute(query.limit(2 * MAX_LINES))]


def _locked(statement: Statement) -> Steps[None]:
    """Execute a statement while no transaction has read the rows and is about to write them."""
    yield LOCK
    yield statement


def _place_of_delivery() -> Select[*tuple[Any, ...]]:
    own, other = deliveries.alias("own"), deliveries.alias("other")
    ahead = (
        select(literal(1))
        .where(
            other.c.webhook_id == own.c.webhook_id,
            other.c.line == own.c.line,
            other.c.place.is_not(None),
            other.c.place < own.c.place,
        )
        .limit(MAX_AHEAD)
        .correlate(own)
        .subquery()
    )
    return (
        select(own.c.place, Webhook.ordered, select(func.count()).select_from(ahead).scalar_subquery())
        .join_from(events, own, and_(own.c.accepted_at == events.c.accepted_at, own.c.tenant == events.c.tenant))
        .outerjoin(Webhook, Webhook.id == own.c.webhook_id)
        .where(
            events.c.id == bindparam("event"),
            events.c.tenant == bindparam("tenant"),
            own.c.event_id == events.c.id,
            own.c.id == bindparam("delivery"),
        )
    )
