"""Transactions of compiled statements, with the database's own driver, as `direct_reads` reads.

A transaction is a generator: it yields statements, and gets the rows of each. So the same code runs in the thread of
SQLite's connection, in one call, and with PostgreSQL, one round trip a statement.
"""

import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.registry.storage.compiled import Compiled, Query
from hookkeeper.registry.storage.database import (
    CALL_TIMEOUT,
    DIRECT_WRITERS,
    Database,
    RegistryUnavailable,
    errors_translated,
)
from hookkeeper.registry.storage.direct_reads import Drivers

Result = TypeVar("Result")
Rows = Sequence[tuple[Any, ...]]
Compile = Callable[[Query], Compiled]


class Statement(NamedTuple):
    """A statement and its parameters. With `many`, it is executed once for each of them, and returns no rows."""

    query: Query
    values: Mapping[str, Any] = {}
    many: Sequence[Mapping[str, Any] | tuple[Any, ...]] | None = None


Steps = Generator[Statement, Rows, Result]
"""Statements of one transaction, and its result."""


class Transactions:
    """Executes transactions on one connection, which stays open. Further ones at the same time have their own."""

    def __init__(self, engine: AsyncEngine, database: Database) -> None:
        self._dialect = engine.dialect
        self._compiled: dict[Query, Compiled] = {}
        self._database = database
        self._drivers = Drivers(engine, DIRECT_WRITERS)

    async def close(self) -> None:
        """Close the connection."""
        await self._drivers.close()

    async def run(self, steps: Callable[[], Steps[Result]]) -> Result:
        """Execute a transaction, and return its result. Raises RegistryUnavailable.

        If the driver fails, a session repeats the transaction, which may have taken effect before.
        """
        async with errors_translated(CALL_TIMEOUT):
            try:
                return await self._run_with_driver(steps())
            except RegistryUnavailable:  # it was not executed: other writers take too long
                raise
            except Exception:  # noqa: BLE001 - the session raises it again, unless a new connection helps
                return await self._run_with_session(steps())

    def _compile(self, query: Query) -> Compiled:
        if query not in self._compiled:
            self._compiled[query] = Compiled(query, self._dialect)
        return self._compiled[query]

    async def _run_with_driver(self, steps: Steps[Result]) -> Result:
        async with self._database.turn(), self._drivers.one() as driver:
            run = _run_with_asyncpg if self._dialect.name == "postgresql" else _run_with_aiosqlite
            result: Result = await run(driver, steps, self._compile)
            return result

    async def _run_with_session(self, steps: Steps[Result]) -> Result:
        async with self._database.write() as session:
            connection = await session.connection()
            rows: Rows = ()
            try:
                statement = next(steps)
                while True:
                    query, rows = self._compile(statement.query), ()
                    if statement.many is not None:
                        for values in map(query.ordered, statement.many):
                            await connection.exec_driver_sql(query.text, values)
                    else:
                        found = await connection.exec_driver_sql(query.text, query.ordered(statement.values))
                        rows = [query.row(row) for row in found] if found.returns_rows else ()
                    statement = steps.send(rows)
            except StopIteration as end:
                result: Result = end.value
                return result


async def _run_with_aiosqlite(driver: Any, steps: Steps[Result], compiled: Compile) -> Result:
    """Execute all statements in one call of the connection's thread."""

    def run() -> Result:
        connection: sqlite3.Connection = driver._conn
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = _run(connection, steps, compiled)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    result: Result = await driver._execute(run)
    return result


def _run(connection: sqlite3.Connection, steps: Steps[Result], compiled: Compile) -> Result:
    try:
        statement = next(steps)
        while True:
            query, rows = compiled(statement.query), list[tuple[Any, ...]]()
            if statement.many is not None:
                connection.executemany(query.text, map(query.ordered, statement.many))
            else:
                found = connection.execute(query.text, query.ordered(statement.values))
                rows = [query.row(row) for row in found.fetchall()]
            statement = steps.send(rows)
    except StopIteration as end:
        result: Result = end.value
        return result


async def _run_with_asyncpg(driver: Any, steps: Steps[Result], compiled: Compile) -> Result:
    async with driver.transaction():
        try:
            statement = next(steps)
            while True:
                query, rows = compiled(statement.query), list[tuple[Any, ...]]()
                if statement.many is not None:
                    await driver.executemany(query.text, [*map(query.ordered, statement.many)])
                else:
                    found = await driver.fetch(query.text, *query.ordered(statement.values))
                    rows = [query.row(row) for row in found]
                statement = steps.send(rows)
        except StopIteration as end:
            result: Result = end.value
            return result
