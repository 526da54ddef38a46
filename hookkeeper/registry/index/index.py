"""The index of events in the registry: write it, search it, count with it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.database import Database
from hookkeeper.registry.index import erasure, writing
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.retention import expire
from hookkeeper.registry.index.statistics import Statistics, StatisticsQuery, read_statistics
from hookkeeper.registry.index.sweeps import SweepStore
from hookkeeper.registry.index.walks import Walks


class EventIndex:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.sweeps = SweepStore(database)
        self.walks = Walks(database)

    async def write(self, reports: Sequence[RunReport]) -> None:
        """Merge reports of runs into the index. A report that was written before changes nothing."""
        async with self._database.write() as session:
            await writing.write(session, reports)

    async def expire(self, now: datetime, retention: timedelta) -> None:
        """Remove what is older than the retention."""
        await expire(self._database, now, retention)

    async def erase(self, key: EventKey) -> None:
        """Remove an event, and drop later reports of it."""
        await erasure.erase(self._database, key)

    async def restore(self, key: EventKey) -> None:
        """Accept reports of an event again that was to be erased."""
        await erasure.restore(self._database, key)

    async def statistics(self, query: StatisticsQuery) -> Statistics:
        """Add up what the query is about. Raises StatisticsTooLarge."""
        async with self._database.read() as session:
            return await read_statistics(session, query)
