"""The order of deliveries: those of an ordered webhook, or of one of its keys, are a line.

A delivery takes its place when its event is accepted or due, in the transaction that writes its row. Transactions are
written one at a time, so an event that is accepted after the 202 of another one is behind it. It keeps its place until
later deliveries need not wait for it any more. The first one in a line may be sent.
"""

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Executable, Select, and_, bindparam, func, literal, null, select, update

from hookkeeper.messages.rows import DeliveryRow, EventKey
from hookkeeper.policy import OrderPolicy
from hookkeeper.registry.events import statements
from hookkeeper.registry.events.merge import Line
from hookkeeper.registry.events.statements import LOCK
from hookkeeper.registry.events.tables import deliveries, events, of_delivery, of_same_event
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.compiled import Compiled, rows_of_json
from hookkeeper.registry.storage.database import Database
from hookkeeper.registry.storage.direct_reads import DirectReads
from hookkeeper.registry.storage.transactions import Statement, Steps, Transactions

MAX_AHEAD = 60
"""Deliveries ahead of another one that are counted."""
MAX_WAITING = 10_000
"""Deliveries in the lines of a webhook that are counted."""
MAX_LINES = 100
"""Lines of a webhook whose first deliveries are called when the webhook is changed. Those behind them follow."""

LINE = (deliveries.c.webhook_id, deliveries.c.line)


def _tails(dialect: str) -> Executable:
    lines = rows_of_json(dialect, *(column.type for column in LINE))
    is_in_line = LINE[0] == lines.c.v0, LINE[1] == lines.c.v1, deliveries.c.place.is_not(None)
    return select(lines.c.v0, lines.c.v1, select(func.max(deliveries.c.place)).where(*is_in_line).scalar_subquery())


def _next(dialect: str) -> Executable:
    left = rows_of_json(dialect, *(column.type for column in LINE), deliveries.c.place.type)
    row, other = deliveries.c, deliveries.alias("other")
    of_line = other.c.webhook_id == left.c.v0, other.c.line == left.c.v1, other.c.place.is_not(None)
    place = select(func.min(other.c.place)).where(*of_line, other.c.place > left.c.v2).correlate(left).scalar_subquery()
    is_next = row.webhook_id == left.c.v0, row.line == left.c.v1, row.place.is_not(None), row.place == place
    found = select(*of_delivery(row)).where(*is_next)
    return statements.looked_up(dialect, left, found, deliveries, left.c.n)


TAILS, NEXT = _tails, _next
LEAVING = update(deliveries).where(deliveries.c.webhook_id == bindparam("webhook")).values(place=null(), line=null())
LEAVE = LEAVING.where(deliveries.c.line == bindparam("of_line"), deliveries.c.place == bindparam("at_place"))
PASS_FAILED = LEAVING.where(deliveries.c.place.is_not(None), deliveries.c.attempts > 0)


class Place(NamedTuple):
    """The place of a delivery, and how many are ahead of it."""

    place: int | None
    """None: it has none."""
    ordered: OrderPolicy | None
    """The present policy of its webhook; None: it is not ordered any more, or deleted."""
    ahead: int


def tails(lines: Collection[Line]) -> Steps[dict[Line, int]]:
    """Return the last place in each line that has any."""
    if not lines:
        return {}
    found = yield Statement(TAILS, {"rows": json.dumps(sorted(lines))})
    return {(webhook_id, line): place for webhook_id, line, place in found if place is not None}


def next_of(passed: Sequence[DeliveryRow]) -> Steps[list[tuple[EventKey, DeliveryRow]]]:
    """Return the delivery behind each that has left its line, with the event of the latter."""
    if not passed:
        return []
    rows = json.dumps([(row.webhook_id, row.line, row.place) for row in passed])
    found = yield Statement(NEXT, {"rows": rows})
    return [(passed[n].event, DeliveryRow(*row)) for n, *row in found]


class Lines:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database, reads: DirectReads, transactions: Transactions) -> None:
        self._database = database
        self._reads = reads
        self._transactions = transactions
        self._place = Compiled(_place_of_delivery(), reads.dialect)

    async def place(self, tenant: str, event_id: str, delivery_id: str) -> Place | None:
        """Return the place of a delivery; None without a row. At most `MAX_AHEAD` ahead of it are counted."""
        parameters = {"tenant": tenant, "event": event_id, "delivery": delivery_id}
        rows = await self._reads.fetch(self._place, tenant, parameters)
        return Place(*rows[0]) if rows else None

    async def head(self, webhook_id: str, line: str | None = None) -> DeliveryRow | None:
        """Return the first delivery of a line, or of all lines of a webhook."""
        row = deliveries.c
        query = select(*of_delivery(row)).join(events, of_same_event(row))
        query = query.where(row.webhook_id == webhook_id, row.place.is_not(None)).order_by(row.place).limit(1)
        async with self._database.read() as session:
            found = (await session.execute(query if line is None else query.where(row.line == line))).first()
        return DeliveryRow(*found) if found else None

    async def behind(self, ahead: DeliveryRow) -> DeliveryRow | None:
        """Return the delivery behind another one that is still in its line."""
        own, other = deliveries.alias(), deliveries.alias()
        is_behind = other.c.webhook_id == own.c.webhook_id, other.c.line == own.c.line, other.c.place > own.c.place
        query = select(*of_delivery(other.c)).select_from(own).join(other, and_(*is_behind))
        query = query.where(*(own.c[name] == getattr(ahead, name) for name in (*EventKey._fields, "id")))
        query = query.order_by(other.c.place).limit(1)
        async with self._database.read() as session:
            found = (await session.execute(query)).first()
        return DeliveryRow(*found) if found else None

    async def leave(self, head: DeliveryRow) -> None:
        """Let the others pass the first delivery of a line."""
        values = {"webhook": head.webhook_id, "of_line": head.line, "at_place": head.place}
        await self._transactions.run(lambda: _locked(Statement(LEAVE, values)))

    async def count(self, webhook_id: str) -> int:
        """Count the deliveries in the lines of a webhook, `MAX_WAITING` at most."""
        waiting = select(literal(1)).where(deliveries.c.webhook_id == webhook_id, deliveries.c.place.is_not(None))
        async with self._database.read() as session:
            return await session.scalar(select(func.count()).select_from(waiting.limit(MAX_WAITING).subquery())) or 0

    async def pass_failed(self, webhook_id: str) -> None:
        """Let no delivery wait any more for one that has failed: the webhook is not ordered any more, or skips it."""
        await self._transactions.run(lambda: _locked(Statement(PASS_FAILED, {"webhook": webhook_id})))

    async def foremost(self, webhook_id: str) -> list[DeliveryRow]:
        """Return the first two deliveries in each line of a webhook, of `MAX_LINES` lines at most."""
        row = deliveries.c
        number = func.row_number().over(partition_by=row.line, order_by=row.place).label("number")
        is_in_line = row.webhook_id == webhook_id, row.place.is_not(None)
        numbered = select(*of_delivery(row), number).where(*is_in_line).subquery()
        query = select(*of_delivery(numbered.c)).where(numbered.c.number <= 2).limit(2 * MAX_LINES)
        async with self._database.read() as session:
            return [DeliveryRow(*found) for found in await session.execute(query)]


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
