"""Small reads that every event needs, with the database's own driver.

A session of SQLAlchemy takes over a millisecond of CPU for a small SELECT, most of it to take a connection from the
pool and to give it back; the driver takes 0.02 ms. SQLAlchemy still writes the statement, once, and names the
conversions of its columns. Connections stay open between reads. If the driver fails, the read is repeated by a session,
which replaces lost connections and translates errors.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Dialect, Float, Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hookkeeper.limits.tenant_limit import TenantLimit
from hookkeeper.registry.database import CALL_TIMEOUT, DIRECT_CONNECTIONS, Database, errors_translated

Convert = Callable[[Any], Any]
Fetch = Callable[[Any, str, tuple[Any, ...]], Awaitable[Any]]


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


class DirectReads:
    """Runs compiled reads on a few connections, which stay open. Each tenant and key takes at most half of them."""

    def __init__(self, engine: AsyncEngine, database: Database) -> None:
        self.dialect = engine.dialect
        self._engine = engine
        self._database = database
        self._slots = TenantLimit(DIRECT_CONNECTIONS)
        self._idle: list[AsyncConnection] = []
        self._waiting: dict[tuple[str, tuple[Any, ...], str], asyncio.Task[Sequence[Any]]] = {}
        """Reads that have not begun."""
        self._tasks: set[asyncio.Task[Sequence[Any]]] = set()
        """These, and those of them that have begun."""
        self._fetch_with = driver_fetch(engine.dialect)

    async def close(self) -> None:
        """Close the connections, after the reads that are under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._idle:
            await self._idle.pop().close()

    async def fetch(self, read: CompiledRead, sharer: str, parameters: Mapping[str, str]) -> list[tuple[Any, ...]]:
        """Return the rows of a read for a tenant or a key. Raises RegistryUnavailable.

        A read that waits for a connection serves all that wait for the same: it begins after each of them.
        """
        values = read.ordered(parameters)
        async with errors_translated(CALL_TIMEOUT):
            if self._slots.acquire_now(sharer):
                rows = await self._fetch(read.text, values, sharer)
            else:
                rows = await asyncio.shield(self._waiting_read(read.text, values, sharer))
            return [read.row(row) for row in rows]

    def _waiting_read(self, text: str, values: tuple[Any, ...], sharer: str) -> asyncio.Task[Sequence[Any]]:
        key = (text, values, sharer)
        if (waiting := self._waiting.get(key)) is None:
            waiting = self._waiting[key] = asyncio.create_task(self._fetch_later(key))
            self._tasks.add(waiting)
            waiting.add_done_callback(self._forget)
        return waiting

    def _forget(self, task: asyncio.Task[Sequence[Any]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # all that waited for it may be cancelled

    async def _fetch_later(self, key: tuple[str, tuple[Any, ...], str]) -> Sequence[Any]:
        text, values, sharer = key
        async with asyncio.timeout(CALL_TIMEOUT):
            try:
                await self._slots.acquire(sharer)
            finally:
                del self._waiting[key]
            return await self._fetch(text, values, sharer)

    async def _fetch(self, text: str, values: tuple[Any, ...], sharer: str) -> Sequence[Any]:
        """Read with a slot of the sharer, and release it."""
        try:
            return await self._fetch_with_driver(text, values)
        finally:
            self._slots.release(sharer)

    async def _fetch_with_driver(self, text: str, values: tuple[Any, ...]) -> Sequence[Any]:
        connection = self._idle.pop() if self._idle else await self._engine.connect()
        try:
            raw = await connection.get_raw_connection()
            rows: Sequence[Any] = await self._fetch_with(raw.driver_connection, text, values)
        except asyncio.CancelledError:  # the read may still be running
            await discard(connection)
            raise
        except Exception:  # noqa: BLE001 - the session raises it again, unless a new connection helps
            await discard(connection)
            return await self._fetch_with_session(text, values)
        self._idle.append(connection)
        return rows

    async def _fetch_with_session(self, text: str, values: tuple[Any, ...]) -> Sequence[Any]:
        async with self._database.read() as session:
            return (await (await session.connection()).exec_driver_sql(text, values)).all()


def driver_fetch(dialect: Dialect) -> Fetch:
    """Return what executes a statement with the driver, and returns its rows."""
    return _fetch_with_asyncpg if dialect.name == "postgresql" else _fetch_with_aiosqlite


async def discard(connection: AsyncConnection) -> None:
    """Close a connection in an unknown state."""
    with suppress(Exception):
        await connection.invalidate()
    with suppress(Exception):
        await connection.close()


async def _fetch_with_aiosqlite(driver: Any, text: str, values: tuple[Any, ...]) -> Any:
    return await driver.execute_fetchall(text, values)


async def _fetch_with_asyncpg(driver: Any, text: str, values: tuple[Any, ...]) -> Any:
    return await driver.fetch(text, *values)


def _conversion(kind: Any, dialect: Dialect) -> Convert | None:
    """Return what makes a value of Python from the driver's; None if they are the same."""
    if isinstance(kind, Float):  # as it is with both drivers; SQLAlchemy would need the type in the database
        return None
    conversion: Convert | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return conversion
