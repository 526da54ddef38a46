"""Claims of event ids: which run an accepted event is in, decided before the run is started.

The first claim of an id wins, and later ones are answered with it. So no two processes start different runs for one
event, and a shared run that was never started is found out and replaced (`hookkeeper.services.event_starts`).
"""

import asyncio
import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Index, String, Table, and_, bindparam, delete, or_, select, update
from sqlalchemy.schema import Column

from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.database import CALL_TIMEOUT, Database, errors_translated, rows_with
from hookkeeper.registry.direct_reads import CompiledRead, DirectReads
from hookkeeper.registry.direct_writes import DirectWrites
from hookkeeper.registry.index.tables import KEY_TEXT, MICROSECOND, EpochTime, erased_events, events
from hookkeeper.registry.models import Base

CLAIMS_PER_STATEMENT = 500
KEYS_PER_QUERY = 500

claims = Table(
    "claims",
    Base.metadata,
    Column("tenant", KEY_TEXT, primary_key=True),
    Column("event_id", KEY_TEXT, primary_key=True),
    Column("digest", String, nullable=False),
    Column("accepted_at", EpochTime, nullable=False),
    Column("shared_run", String),
    Index("ix_claims_accepted_at", "accepted_at", "tenant", "event_id"),
)
"""One row an accepted event. `shared_run` is the workflow id of the shared run that has it; NULL: an own run."""

INSERT = {
    "sqlite": """
WITH new AS (
  SELECT json_extract(value, '$[0]') AS tenant, json_extract(value, '$[1]') AS event_id,
    json_extract(value, '$[2]') AS digest, json_extract(value, '$[3]') AS accepted_at,
    json_extract(value, '$[4]') AS shared_run, json_extract(value, '$[5]') AS given
  FROM json_each(?)
)
INSERT INTO claims (tenant, event_id, digest, accepted_at, shared_run)
SELECT tenant, event_id, digest, accepted_at, shared_run FROM new
WHERE NOT (given AND EXISTS (SELECT 1 FROM events e WHERE e.id = new.event_id AND e.tenant = new.tenant))
ON CONFLICT DO NOTHING RETURNING tenant, event_id""",
    # OFFSET 0: each event is looked up in its index. Otherwise PostgreSQL may read all events to hash them.
    "postgresql": """
INSERT INTO claims (tenant, event_id, digest, accepted_at, shared_run)
SELECT tenant, event_id, digest, accepted_at, shared_run
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::boolean[])
  AS new (tenant, event_id, digest, accepted_at, shared_run, given)
WHERE NOT (given AND EXISTS (SELECT 1 FROM events e WHERE e.id = new.event_id AND e.tenant = new.tenant OFFSET 0))
ON CONFLICT DO NOTHING RETURNING tenant, event_id""",
}
"""Inserts the claims of events that are not known. Events from before claims were written are only in the index."""

Key = tuple[str, str]
"""Tenant and event id."""


class Claim(NamedTuple):
    """The run that an event belongs to. An own run has its own digest in its memo, which decides."""

    tenant: str
    event_id: str
    digest: str
    accepted_at: datetime
    shared_run: str | None
    """The workflow id of a shared run; None: the event has a run of its own."""

    @property
    def key(self) -> Key:
        return self.tenant, self.event_id


class _Request(NamedTuple):
    claims: Sequence[Claim]
    given: Collection[Key]
    answer: asyncio.Future[dict[Key, Claim]]


class Claims:
    """Stores claims. Methods raise RegistryUnavailable; a write may have taken effect all the same."""

    def __init__(self, database: Database, reads: DirectReads, writes: DirectWrites) -> None:
        self._database = database
        self._reads = reads
        self._writes = writes
        self._waiting: list[_Request] = []
        self._task: asyncio.Task[None] | None = None
        """Writes what waits."""
        self._by_key = CompiledRead(
            select(*claims.c).where(claims.c.tenant == bindparam("tenant"), claims.c.event_id == bindparam("event")),
            reads.dialect,
        )

    async def close(self) -> None:
        """Return when the statement that is under way has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def claim(self, claims: Sequence[Claim], given: Collection[Key] = ()) -> dict[Key, Claim]:
        """Store claims of different events; return the earlier claims of those that are not new.

        `given`: the events whose ids the clients gave. They may have been accepted before claims were written. Claims
        that come while a statement is under way go together into the next: one wait for the disk serves all.
        """
        request = _Request(claims, given, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._task is None:
            self._task = asyncio.create_task(self._write_all())
        async with errors_translated(CALL_TIMEOUT):
            return await request.answer

    async def find(self, tenant: str, event_id: str) -> Claim | None:
        """Return the claim of an event."""
        rows = await self._reads.fetch(self._by_key, tenant, {"tenant": tenant, "event": event_id})
        return Claim(*rows[0]) if rows else None

    async def is_erased(self, tenant: str, event_id: str, accepted_at: datetime) -> bool:
        """Return whether this event was erased, not a later one with its id. The server may still have its runs."""
        key = accepted_at, tenant, event_id
        columns = erased_events.c.accepted_at, erased_events.c.tenant, erased_events.c.event_id
        async with self._database.read() as session:
            return bool(await session.scalar(select(1).where(rows_with(columns, [key]))))

    async def move(self, keys: Collection[Key], from_run: str, to_run: str | None) -> None:
        """Move the claims of these events to another run, if they are still in the run `from_run`."""
        is_there = claims.c.shared_run == from_run
        async with self._database.write() as session:
            for some in _portions(keys):
                await session.execute(update(claims).where(is_there, _with_keys(some)).values(shared_run=to_run))

    async def release(self, keys: Collection[Key], from_run: str) -> None:
        """Remove the claims of these events, if they are still in the run `from_run`."""
        is_there = claims.c.shared_run == from_run
        async with self._database.write() as session:
            for some in _portions(keys):
                await session.execute(delete(claims).where(is_there, _with_keys(some)))

    async def clear(self, tenant: str, event_id: str) -> None:
        """Leave of an erased event only its id, as if it had a run of its own: Temporal decides when the id is free."""
        async with self._database.write() as session:
            is_event = _with_keys([(tenant, event_id)])
            await session.execute(update(claims).where(is_event).values(digest="", shared_run=None))

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._next_requests())
        finally:
            self._task = None

    def _next_requests(self) -> list[_Request]:
        """Take the oldest requests: at least one, and as many as fit into a statement."""
        size = taken = 0
        for request in self._waiting:
            size += len(request.claims)
            if taken and size > CLAIMS_PER_STATEMENT:
                break
            taken += 1
        requests, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return [request for request in requests if not request.answer.done()]

    async def _answer(self, requests: Sequence[_Request]) -> None:
        first: dict[Key, Claim] = {}
        for request in requests:
            for claim in request.claims:
                first.setdefault(claim.key, claim)
        given = {key for request in requests for key in request.given}
        try:
            earlier = await self._store(first, given)
        except Exception as error:  # noqa: BLE001 - each request raises it
            for request in requests:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return
        for request in requests:
            if not request.answer.done():
                request.answer.set_result(_earlier(request.claims, first, earlier))

    async def _store(self, new: dict[Key, Claim], given: Collection[Key]) -> dict[Key, Claim]:
        """Insert the claims, and return those that were there before."""
        earlier: dict[Key, Claim] = {}
        while new:
            ordered = sorted(new.values())  # so that two processes with the same keys do not deadlock
            rows = await self._writes.fetch(INSERT[self._writes.dialect.name], self._values(ordered, given))
            inserted = {(tenant, event_id) for tenant, event_id in rows}
            left = new.keys() - inserted
            earlier |= await self._known(left)
            new = {key: new[key] for key in left if key not in earlier}  # removed between the two statements
        return earlier

    def _values(self, claims: Sequence[Claim], given: Collection[Key]) -> tuple[Any, ...]:
        rows = [
            (*claim[:3], (claim.accepted_at - BEGINNING) // MICROSECOND, claim.shared_run, claim.key in given)
            for claim in claims
        ]
        if self._writes.dialect.name == "sqlite":
            return (json.dumps(rows),)
        return tuple(list(column) for column in zip(*rows, strict=True))

    async def _known(self, keys: Collection[Key]) -> dict[Key, Claim]:
        """Return the claims of these events; of an event without one, what the index has."""
        known: dict[Key, Claim] = {}
        if not keys:
            return known
        of_index = select(*(events.c[name] for name in ("tenant", "id", "digest", "accepted_at", "shared_run")))
        for some in _portions(keys):
            in_index = of_index.where(rows_with((events.c.id, events.c.tenant), [key[::-1] for key in some]))
            async with self._database.read() as session:
                for query in (in_index.order_by(events.c.accepted_at), select(claims).where(_with_keys(some))):
                    known |= {claim.key: claim for claim in (Claim(*row) for row in await session.execute(query))}
        return known


def _earlier(wanted: Iterable[Claim], first: dict[Key, Claim], earlier: dict[Key, Claim]) -> dict[Key, Claim]:
    """Return the claims that were there before these, or came before them in the same statement.

    A claim of the same shared run is this one: its statement took effect, and was repeated.
    """
    found: dict[Key, Claim] = {}
    for claim in wanted:
        other = earlier.get(claim.key, first[claim.key])
        if other is not claim and (claim.shared_run is None or other.shared_run != claim.shared_run):
            found[claim.key] = other
    return found


def _portions(keys: Collection[Key]) -> Iterable[list[Key]]:
    ordered = sorted(keys)
    return (ordered[begin : begin + KEYS_PER_QUERY] for begin in range(0, len(ordered), KEYS_PER_QUERY))


def _with_keys(keys: Sequence[Key]) -> ColumnElement[bool]:
    """Select the claims of these events, by tenant: SQLite uses no index for a list of pairs."""
    ids: dict[str, list[str]] = {}
    for tenant, event_id in keys:
        ids.setdefault(tenant, []).append(event_id)
    return or_(*(and_(claims.c.tenant == tenant, claims.c.event_id.in_(some)) for tenant, some in ids.items()))
