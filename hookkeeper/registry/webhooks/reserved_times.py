"""Reserved times of requests, which keep the rates of webhooks."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import case, literal, or_, update

from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.database import Database

WebhookRate = tuple[str, float]


@dataclass(slots=True)
class _Group:
    """Requests for one webhook that reserve their times in one transaction."""

    earliest: datetime
    size: int = 0
    reserving: asyncio.Task[datetime] = field(init=False)
    """Returns the time of the first request."""


class ReservedTimes:
    """Reserves times. Methods raise RegistryUnavailable. A time that is not used delays no other request.

    Requests that come while another transaction is in progress are reserved together: with a transaction each, those of
    a backlog wait for the disk one after the other, until they time out.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._groups: dict[WebhookRate, _Group] = {}
        """Groups that requests can still join."""

    async def reserve(self, webhook_id: str, earliest: datetime, rate: float) -> datetime:
        """Reserve the webhook's next free time from `earliest` on, at `rate` requests a second."""
        key = (webhook_id, rate)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(earliest)
            group.reserving = asyncio.create_task(self._reserve(key, group))
        number, group.size = group.size, group.size + 1
        group.earliest = max(group.earliest, earliest)
        first = await asyncio.shield(group.reserving)
        return datetime.fromtimestamp(first.timestamp() + number / rate, UTC)

    async def _reserve(self, key: WebhookRate, group: _Group) -> datetime:
        """Reserve times for all that join the group until the transaction begins; return the first one.

        A single UPDATE without a read, so workers can reserve concurrently.
        """
        webhook_id, rate = key
        try:
            async with self._database.write() as session:
                self._close(key, group)
                begin, length = literal(group.earliest.timestamp()), group.size / rate
                is_free = or_(Webhook.next_slot_at.is_(None), Webhook.next_slot_at < begin)
                query = (
                    update(Webhook)
                    .where(Webhook.id == webhook_id)
                    .values(next_slot_at=case((is_free, begin), else_=Webhook.next_slot_at) + length)
                    .returning(Webhook.next_slot_at)
                )
                after = await session.scalar(query)
        finally:
            self._close(key, group)
        if after is None:  # deleted; the attempt detects it
            return group.earliest
        return max(group.earliest, datetime.fromtimestamp(after - length, UTC))

    def _close(self, key: WebhookRate, group: _Group) -> None:
        """Let no further request join the group."""
        if self._groups.get(key) is group:
            del self._groups[key]
