"""The index of events in the registry: write it, search it, count with it."""

from collections.abc import Sequence

from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.database import Database
from hookkeeper.registry.index import writing


class EventIndex:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, reports: Sequence[RunReport]) -> None:
        """Merge reports of runs into the index. A report that was written before changes nothing."""
        async with self._database.write() as session:
            await writing.write(session, reports)
