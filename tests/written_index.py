"""The index of events with a method that writes to it, for tests without a store."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events.index import EventIndex
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.registry.storage.database import Database
from hookkeeper.registry.storage.direct_reads import DirectReads
from hookkeeper.registry.storage.transactions import Transactions


class WrittenIndex(EventIndex):
    """Writes each time on a connection of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(Database(engine))
        self._engine = engine

    async def write(self, reports: Sequence[RunReport]) -> None:
        """Write the reports as a run does."""
        async with self.rows() as rows:
            await rows.write(reports)

    async def erase(self, tenant: str, event_id: str) -> None:
        """Remove an event."""
        async with self.rows() as rows:
            await rows.remove(tenant, event_id)

    @asynccontextmanager
    async def rows(self) -> AsyncIterator[EventRows]:
        """Give what writes to the block."""
        transactions = Transactions(self._engine, self._database)
        rows = EventRows(self._database, DirectReads(self._engine, self._database), transactions)
        try:
            yield rows
        finally:
            await rows.close()
            await transactions.close()
