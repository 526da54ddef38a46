"""Single statements that write, with the database's own driver, as `hookkeeper.registry.direct_reads` reads."""

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hookkeeper.registry.database import CALL_TIMEOUT, Database, RegistryUnavailable, errors_translated
from hookkeeper.registry.direct_reads import discard, driver_fetch


class DirectWrites:
    """Executes statements on one connection, which stays open. The caller has one statement at a time."""

    def __init__(self, engine: AsyncEngine, database: Database) -> None:
        self.dialect = engine.dialect
        self._engine = engine
        self._database = database
        self._fetch_with = driver_fetch(engine.dialect)
        self._connection: AsyncConnection | None = None

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def fetch(self, statement: str, values: tuple[Any, ...]) -> Sequence[Any]:
        """Execute a statement in its own transaction, and return its rows. Raises RegistryUnavailable.

        If the driver fails, a session repeats the statement, which may have taken effect before.
        """
        async with errors_translated(CALL_TIMEOUT):
            try:
                return await self._fetch_with_driver(statement, values)
            except RegistryUnavailable:  # it was not executed: other writers take too long
                raise
            except Exception:  # noqa: BLE001 - the session raises it again, unless a new connection helps
                return await self._fetch_with_session(statement, values)

    async def _fetch_with_driver(self, statement: str, values: tuple[Any, ...]) -> Sequence[Any]:
        async with self._database.turn():
            connection, self._connection = self._connection or await self._engine.connect(), None
            try:
                raw = await connection.get_raw_connection()
                rows: Sequence[Any] = await self._fetch_with(raw.driver_connection, statement, values)
            except (Exception, asyncio.CancelledError):  # the statement may still be running
                await discard(connection)
                raise
            self._connection = connection
            return rows

    async def _fetch_with_session(self, statement: str, values: tuple[Any, ...]) -> Sequence[Any]:
        async with self._database.write() as session:
            return (await (await session.connection()).exec_driver_sql(statement, values)).all()
