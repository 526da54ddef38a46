"""Reserved times of requests, if timers limit the rate of a webhook."""

from datetime import UTC, datetime

from sqlalchemy import case, literal, or_, update

from hookkeeper.registry.database import Database
from hookkeeper.registry.models import Webhook


class Slots:
    """Reserves slots. Methods raise RegistryUnavailable. An unused slot delays no other request."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, webhook_id: str, earliest: datetime, rate: float) -> datetime:
        """Reserve the webhook's next free time from `earliest` on, at `rate` requests a second.

        A single UPDATE without a read, so workers can reserve concurrently.
        """
        begin, step = literal(earliest.timestamp()), 1.0 / rate
        is_free = or_(Webhook.next_slot_at.is_(None), Webhook.next_slot_at < begin)
        query = (
            update(Webhook)
            .where(Webhook.id == webhook_id)
            .values(next_slot_at=case((is_free, begin), else_=Webhook.next_slot_at) + step)
            .returning(Webhook.next_slot_at)
        )
        async with self._database.write() as session:
            after = await session.scalar(query)
        if after is None:  # deleted; the attempt detects it
            return earliest
        return max(earliest, datetime.fromtimestamp(after - step, UTC))
