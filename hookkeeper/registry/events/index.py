"""The index of events in the registry: write it, search it, count with it."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from hookkeeper.messages.rows import EventRow
from hookkeeper.registry.events import change_log, listing
from hookkeeper.registry.events.change_log import Change, LogEnds, Position
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.delivery_times import DeliveryTimes, delivery_times
from hookkeeper.registry.events.issues import Issue, find_issues
from hookkeeper.registry.events.leases import Leases
from hookkeeper.registry.events.listing import MAX_TOTAL, LatestValues
from hookkeeper.registry.events.recount import recount
from hookkeeper.registry.events.recount_tenants import recount_tenants
from hookkeeper.registry.events.retention import expire
from hookkeeper.registry.events.runs_by_status import RunsByStatus
from hookkeeper.registry.events.state import IndexState, read_state
from hookkeeper.registry.events.statistics import Statistics, StatisticsQuery, read_statistics
from hookkeeper.registry.events.waiting import Waiting, WaitingDeliveries, count_waiting, waiting_of_webhooks
from hookkeeper.registry.storage.database import Database
from hookkeeper.times import utc_now


class EventIndex:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.leases = Leases(database)
        self.runs_by_status = RunsByStatus(database)

    async def expire(self, now: datetime, retention: timedelta) -> None:
        """Remove what is older than the retention."""
        await expire(self._database, now, retention)

    async def recount(self) -> int:
        """Mend the counters of all tenants together, and return how many rows were wrong."""
        return await recount(self._database)

    async def recount_tenants(self, since: datetime, now: datetime) -> int:
        """Mend the counters of each tenant since a time, and return how many rows were wrong."""
        return await recount_tenants(self._database, since, now)

    async def statistics(self, query: StatisticsQuery) -> Statistics:
        """Add up what the query is about. Raises StatisticsTooLarge."""
        async with self._database.read() as session:
            return await read_statistics(session, query)

    async def count_waiting(self, tenant: str | None) -> Waiting:
        """Count held and retrying deliveries, in one group without a name."""
        async with self._database.read() as session:
            return await count_waiting(session, (), {} if tenant is None else {"tenant": tenant})

    async def waiting_of_webhooks(self, webhook_ids: Collection[str]) -> dict[str, WaitingDeliveries]:
        """Count the held and retrying deliveries of each of these webhooks that has any."""
        async with self._database.read() as session:
            return await waiting_of_webhooks(session, webhook_ids)

    async def issues(self, tenant: str | None, *, acknowledged: bool) -> list[Issue]:
        """Return what fails or waits by webhook and error, of events that need attention, or are acknowledged."""
        async with self._database.read() as session:
            return await find_issues(session, tenant, acknowledged=acknowledged)

    async def delivery_times(self, tenant: str | None, webhook_id: str | None = None) -> DeliveryTimes | None:
        """Return how long the latest deliveries took until they succeeded; None without any."""
        async with self._database.read() as session:
            return await delivery_times(session, utc_now(), tenant, webhook_id)

    async def state(self, now: datetime) -> IndexState:
        """Return what is pending, and what waits."""
        async with self._database.scan() as session:
            return await read_state(session, now)

    async def change_log(self) -> LogEnds:
        """Return where the log of changes begins and ends."""
        async with self._database.read() as session:
            return await change_log.ends(session)

    async def changes(
        self, after: Position, until: Position, tenants: Collection[str] | None
    ) -> tuple[list[Change], Position]:
        """Return changes of these tenants, or of all, and how far they reach: at most up to `until`."""
        async with self._database.read() as session:
            return await change_log.read(session, after, until, tenants)

    async def changed_events(self, changes: Sequence[Change]) -> list[tuple[Change, EventRow]]:
        """Return the events of changes as they are now, with the deliveries that have changed, without those that were
        removed.
        """
        async with self._database.read() as session:
            return await change_log.changed_events(session, changes)

    async def events(self, search: Search, limit: int, cursor: str | None) -> tuple[list[EventRow], str | None]:
        """Return a page of events in the order of the search, and the next cursor. Raises BadRegistryCursor.

        Each has its deliveries, the worst first. A page can have fewer than `limit` events and not be the last.
        """
        async with self._database.scan() as session:
            return await listing.list_events(session, search, limit, cursor)

    async def latest_values(self, tenant: str | None, webhook: str | None) -> LatestValues:
        """Return what the latest events and failed attempts have, for suggestions."""
        async with self._database.scan() as session:
            return await listing.latest_values(session, tenant, webhook)

    async def matches(self, search: Search, limit: int, cursor: str | None) -> tuple[list[tuple[str, str]], str | None]:
        """Return tenants and ids of such a page."""
        async with self._database.scan() as session:
            return await listing.list_matches(session, search, limit, cursor)

    async def deliveries(self, search: Search, limit: int, cursor: str | None) -> tuple[list[EventRow], str | None]:
        """Return such a page of the deliveries to the webhook of the search, each as the one of its event."""
        async with self._database.scan() as session:
            return await listing.list_deliveries(session, search, limit, cursor)

    async def count_up_to(self, search: Search, limit: int) -> tuple[int, bool]:
        """Count the events that meet the search, at most `limit`, and return whether these are all."""
        async with self._database.scan() as session:
            return await listing.count_up_to(session, search, limit)

    async def count_events(self, search: Search) -> int | None:
        """Return how many events meet the search; None if they are too many to count."""
        number, are_all = await self.count_up_to(search, MAX_TOTAL)
        return number if are_all else None

    async def count_deliveries(self, search: Search) -> int | None:
        """Do the same for the deliveries to the webhook of the search."""
        async with self._database.scan() as session:
            return await listing.count_deliveries(session, search)

    async def count_held(self, webhook_id: str) -> int:
        """Count the events with a held delivery to the webhook, at most `MAX_HELD`."""
        async with self._database.scan() as session:
            return await listing.count_held(session, webhook_id)
