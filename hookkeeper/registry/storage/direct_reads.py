"""Small reads that every event needs, with the database's own driver.

A session of SQLAlchemy takes over a millisecond of CPU for a small SELECT, most of it to take a connection from the
pool and to give it back; the driver takes 0.02 ms (`registry.storage.compiled`). Connections stay open between
reads. If the driver fails, the read is repeated by a session, which replaces lost connections and translates errors.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hookkeeper.registry.storage.compiled import Compiled
from hookkeeper.registry.storage.database import CALL_TIMEOUT, DIRECT_CONNECTIONS, Database, errors_translated

READS_OF_ONE = 2
"""At a time, of one tenant or key: those of an event."""


class _Read(NamedTuple):
    text: str
    values: tuple[Any, ...]


class Drivers:
    """Connections of the database's own driver, which stay open between uses."""

    def __init__(self, engine: AsyncEngine, kept: int) -> None:
        self._engine = engine
        self._kept = kept
        self._idle: list[AsyncConnection] = []

    async def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            await self._idle.pop().close()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Any]:
        """Give a connection to the block. If that fails, it is not used again: a statement may still be running."""
        connection = self._idle.pop() if self._idle else await self._engine.connect()
        try:
            yield (await connection.get_raw_connection()).driver_connection
        except (Exception, asyncio.CancelledError):
            with suppress(Exception):
                await connection.invalidate()
            with suppress(Exception):
                await connection.close()
            raise
        if len(self._idle) < self._kept:
            self._idle.append(connection)
        else:
            await connection.close()


class DirectReads:
    """Runs compiled reads on a few connections. Reads wait for one, tenant by tenant in turn."""

    def __init__(self, engine: AsyncEngine, database: Database) -> None:
        self.dialect = engine.dialect
        self._database = database
        self._drivers = Drivers(engine, DIRECT_CONNECTIONS)
        self._waiting: dict[str, dict[_Read, list[asyncio.Future[Sequence[Any]]]]] = {}
        """By tenant or key, the next to be served first, and by read: what waits for its rows."""
        self._serving: set[asyncio.Task[None]] = set()
        self._fetch_all, self._max_reads = _DRIVERS[engine.dialect.name]

    async def close(self) -> None:
        """Close the connections, after the reads that are under way."""
        await asyncio.gather(*self._serving)
        await self._drivers.close()

    async def fetch(self, read: Compiled, sharer: str, parameters: Mapping[str, str]) -> list[tuple[Any, ...]]:
        """Return the rows of a read for a tenant or a key. Raises RegistryUnavailable."""
        rows = await self.fetch_raw(read, sharer, parameters)
        async with errors_translated(None):
            return [read.row(row) for row in rows]

    async def fetch_raw(self, read: Compiled, sharer: str, parameters: Mapping[str, str]) -> Sequence[Sequence[Any]]:
        """Return the rows as the driver has them, for `Compiled.row`. Raises RegistryUnavailable.

        A read serves all that wait for the same one: it begins after each of them.
        """
        values = read.ordered(parameters)
        async with errors_translated(CALL_TIMEOUT):
            return await self._rows(_Read(read.text, values), sharer)

    def _rows(self, read: _Read, sharer: str) -> asyncio.Future[Sequence[Any]]:
        rows: asyncio.Future[Sequence[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sharer, {}).setdefault(read, []).append(rows)
        if len(self._serving) < DIRECT_CONNECTIONS:
            self._serving.add(asyncio.create_task(self._serve()))
        return rows

    async def _serve(self) -> None:
        """Serve what waits, until nothing does."""
        try:
            while self._waiting:
                await self._answer(self._take())
        finally:
            self._serving.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _take(self) -> dict[_Read, list[asyncio.Future[Sequence[Any]]]]:
        """Take the next reads."""
        group: dict[_Read, list[asyncio.Future[Sequence[Any]]]] = {}
        for sharer in [*self._waiting][: self._max_reads]:
            reads = self._waiting.pop(sharer)
            for read in [*reads][: min(READS_OF_ONE, self._max_reads)]:
                group.setdefault(read, []).extend(reads.pop(read))
            if reads:
                self._waiting[sharer] = reads  # behind all others
        return group

    async def _answer(self, group: Mapping[_Read, Sequence[asyncio.Future[Sequence[Any]]]]) -> None:
        results: Sequence[Sequence[Any] | BaseException]
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                results = await self._fetch([*group])
        except Exception as error:  # noqa: BLE001 - each caller raises it
            results = [error] * len(group)
        for waiting, result in zip(group.values(), results, strict=True):
            for rows in waiting:
                if rows.done():  # its caller was cancelled
                    continue
                if isinstance(result, BaseException):
                    rows.set_exception(result)
                else:
                    rows.set_result(result)

    async def _fetch(self, reads: Sequence[_Read]) -> Sequence[Sequence[Any] | BaseException]:
        """Return the rows of each read, or its error."""
        try:
            return await self._fetch_with_driver(reads)
        except Exception:  # noqa: BLE001 - the session raises it again, unless a new connection helps
            again = map(self._fetch_with_session, reads)
            return [*await asyncio.gather(*again, return_exceptions=True)]

    async def _fetch_with_driver(self, reads: Sequence[_Read]) -> Sequence[Sequence[Any]]:
        async with self._drivers.one() as driver:
            return await self._fetch_all(driver, reads)

    async def _fetch_with_session(self, read: _Read) -> Sequence[Any]:
        async with self._database.read() as session:
            return (await (await session.connection()).exec_driver_sql(read.text, read.values)).all()


async def _all_with_aiosqlite(driver: Any, reads: Sequence[_Read]) -> Sequence[Sequence[Any]]:
    """Read in one call of the connection's thread: a call costs six times as much as a read."""

    def fetch_all() -> list[Sequence[Any]]:
        return [driver._conn.execute(read.text, read.values).fetchall() for read in reads]

    rows: Sequence[Sequence[Any]] = await driver._execute(fetch_all)
    return rows


async def _all_with_asyncpg(driver: Any, reads: Sequence[_Read]) -> Sequence[Sequence[Any]]:
    return [await driver.fetch(read.text, *read.values) for read in reads]


_DRIVERS = {"sqlite": (_all_with_aiosqlite, 16), "postgresql": (_all_with_asyncpg, 1)}
"""What reads with the driver, and how many reads at a time."""
