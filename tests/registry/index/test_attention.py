"""The webhooks with most deliveries that need attention are found without a look at all webhooks."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Delivery, DeliveryStatus
from hookkeeper.messages.run_report import EventProgress, RunReport
from written_index import WrittenIndex

pytestmark = pytest.mark.usefixtures("patient_registry")

NOW = datetime(2026, 1, 10, 12, 34, 56, tzinfo=UTC)
DAY = timedelta(days=1)


def report(tenant: str, webhook: str, status: DeliveryStatus, age: timedelta) -> RunReport:
    at = NOW - age
    progress = EventProgress("delivering", needs_attention=True, deliver_at=None, run_id="run", digest="abc")
    delivery = Delivery(id=webhook, webhook_id=webhook, status=status)
    return RunReport(tenant, "evt_1", "order.paid", at, at, progress, (delivery,), finished_at=None)


async def test_the_most_come_first(engine: AsyncEngine) -> None:
    index = WrittenIndex(engine)
    statuses: tuple[DeliveryStatus, ...] = ("failed", "retrying", "held")
    fine: tuple[DeliveryStatus, ...] = ("succeeded", "pending", "cancelled", "succeeded", "pending", "cancelled")
    hour = timedelta(hours=1)
    reports = [
        *(report("acme", "wh_most", status, hour) for status in statuses),
        *(report("acme", "wh_fine", status, hour) for status in fine),
        *(report("acme", "wh_old", "failed", 25 * hour) for _ in range(4)),
        *(report("zeta", "wh_some", "failed", 2 * hour) for _ in range(2)),
        report("acme", "wh_one", "retrying", 23 * hour),
    ]
    await index.write([each._replace(event_id=f"evt_{n}") for n, each in enumerate(reports)])
    most, some, one = ("acme", "wh_most"), ("zeta", "wh_some"), ("acme", "wh_one")
    assert await index.webhooks_needing_attention(NOW - DAY, None, 5) == [most, some, one]
    assert await index.webhooks_needing_attention(NOW - DAY, None, 2) == [most, some]
    assert await index.webhooks_needing_attention(NOW - DAY, "acme", 5) == [most, one]
