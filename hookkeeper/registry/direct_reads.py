"""Small reads that every event needs, with the database's own driver.

A session of SQLAlchemy takes over a millisecond of CPU for a small SELECT, most of it to take a connection from the
pool and to give it back; the driver takes 0.02 ms. SQLAlchemy still writes the statement, once, and names the
conversions of its columns. Connections stay open between reads. If the driver fails, the read is repeated by a session,
which replaces lost connections and translates errors.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import Dialect, Float, Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hookkeeper.registry.database import CALL_TIMEOUT, DIRECT_CONNECTIONS, Database, errors_translated

READS_OF_ONE = 2
"""At a time, of one tenant or key: those of an event."""
Convert = Callable[[Any], Any]


class CompiledRead:
    """A SELECT as the driver takes it, and the conversion of its rows. Its parameters are texts."""

    def __init__(self, query: Select[*tuple[Any, ...]], dialect: Dialect) -> None:
        compiled = query.compile(dialect=dialect)
        self.text = compiled.string
        self._defaults: Mapping[str, Any] = compiled.params
        self._order: Sequence[str] = compiled.positiontup or ()
        self._conversions = [_conversion(column.type, dialect) for column in query.selected_columns]

    def ordered(self, parameters: Mapping[str, str]) -> tuple[Any, ...]:
        """Return the values of the parameters in the order in which the text has them."""
        values = {**self._defaults, **parameters}
        return tuple(values[name] for name in self._order)

    def row(self, row: Sequence[Any]) -> tuple[Any, ...]:
        """Convert a row of the driver, as SQLAlchemy would. Raises CipherError."""
        converted = zip(self._conversions, row, strict=True)
        return tuple(value if convert is None else convert(value) for convert, value in converted)


class _Read(NamedTuple):
    text: str
    values: tuple[Any, ...]


class DirectReads:
    """Runs compiled reads on a few connections, which stay open. Reads wait for one, tenant by tenant in turn."""

    def __init__(self, engine: AsyncEngine, database: Database) -> None:
        self.dialect = engine.dialect
        self._engine = engine
        self._database = database
        self._idle: list[AsyncConnection] = []
        self._waiting: dict[str, dict[_Read, list[asyncio.Future[Sequence[Any]]]]] = {}
        """By tenant or key, the next to be served first, and by read: what waits for its rows."""
        self._size = 0
        """Reads that wait."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving = self._starting = 0
        """Tasks with a connection, and those of them that have taken no reads yet."""
        self._fetch_all, self._max_reads = _DRIVERS[engine.dialect.name]

    async def close(self) -> None:
        """Close the connections, after the reads that are under way."""
        await asyncio.gather(*self._tasks)
        while self._idle:
            await self._idle.pop().close()

    async def fetch(self, read: CompiledRead, sharer: str, parameters: Mapping[str, str]) -> list[tuple[Any, ...]]:
        """Return the rows of a read for a tenant or a key. Raises RegistryUnavailable."""
        rows = await self.fetch_raw(read, sharer, parameters)
        async with errors_translated(None):
            return [read.row(row) for row in rows]

    async def fetch_raw(
        self, read: CompiledRead, sharer: str, parameters: Mapping[str, str]
    ) -> Sequence[Sequence[Any]]:
        """Return the rows as the driver has them, for `CompiledRead.row`. Raises RegistryUnavailable.

        A read serves all that wait for the same one: it begins after each of them.
        """
        values = read.ordered(parameters)
        async with errors_translated(CALL_TIMEOUT):
            return await self._rows(_Read(read.text, values), sharer)

    def _rows(self, read: _Read, sharer: str) -> asyncio.Future[Sequence[Any]]:
        rows: asyncio.Future[Sequence[Any]] = asyncio.get_running_loop().create_future()
        of_sharer = self._waiting.setdefault(sharer, {})
        self._size += read not in of_sharer
        of_sharer.setdefault(read, []).append(rows)
        if self._size > self._starting * self._max_reads and self._serving < DIRECT_CONNECTIONS:
            self._serving += 1
            self._starting += 1
            task = asyncio.create_task(self._serve())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return rows

    async def _serve(self) -> None:
        """Serve what waits, until nothing does."""
        self._starting -= 1
        try:
            while self._waiting:
                if group := self._take():
                    await self._answer(group)
        finally:
            self._serving -= 1

    def _take(self) -> dict[_Read, list[asyncio.Future[Sequence[Any]]]]:
        """Take the next reads, without those for which nothing waits any more."""
        group: dict[_Read, list[asyncio.Future[Sequence[Any]]]] = {}
        for sharer in [*self._waiting]:
            if len(group) >= self._max_reads:
                break
            reads = self._waiting.pop(sharer)
            for read in [*reads][: min(READS_OF_ONE, self._max_reads)]:
                self._size -= 1
                waiting = [rows for rows in reads.pop(read) if not rows.done()]
                if waiting:
                    group.setdefault(read, []).extend(waiting)
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
        connection = self._idle.pop() if self._idle else await self._engine.connect()
        try:
            raw = await connection.get_raw_connection()
            rows = await self._fetch_all(raw.driver_connection, reads)
        except (Exception, asyncio.CancelledError):  # the reads may still be running
            await discard(connection)
            raise
        self._idle.append(connection)
        return rows

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


async def discard(connection: AsyncConnection) -> None:
    """Close a connection in an unknown state."""
    with suppress(Exception):
        await connection.invalidate()
    with suppress(Exception):
        await connection.close()


def _conversion(kind: Any, dialect: Dialect) -> Convert | None:
    """Return what makes a value of Python from the driver's; None if they are the same."""
    if isinstance(kind, Float):  # as it is with both drivers; SQLAlchemy would need the type in the database
        return None
    conversion: Convert | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return conversion
