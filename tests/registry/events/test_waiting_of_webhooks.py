"""What waits for each of several webhooks is counted without a look at all deliveries."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Delivery
from hookkeeper.registry.events import waiting
from hookkeeper.registry.events.waiting import WaitingDeliveries
from hookkeeper.statuses import DeliveryStatus
from reports import reported
from written_index import WrittenIndex

NOW = datetime(2026, 1, 10, 12, 34, 56, tzinfo=UTC)
SOON, LATER = NOW + timedelta(minutes=1), NOW + timedelta(hours=1)
ROWS: tuple[tuple[str, DeliveryStatus, datetime | None], ...] = (
    ("wh_1", "retrying", LATER),
    ("wh_1", "retrying", SOON),
    ("wh_1", "held", NOW),
    ("wh_1", "failed", None),
    ("wh_2", "held", NOW),
    ("wh_2", "succeeded", None),
    ("wh_3", "succeeded", None),
    ("wh_4", "retrying", SOON),
)


async def test_each_has_its_own_numbers_and_its_next_attempt(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = WrittenIndex(engine)
    for n, (webhook, status, at) in enumerate(ROWS):
        delivery = Delivery(id=webhook, webhook_id=webhook, status=status, next_attempt_at=at)
        await index.write([reported("acme", f"evt_{n}", NOW, NOW, (delivery,))])
    assert await index.waiting_of_webhooks(["wh_1", "wh_2", "wh_3"]) == {
        "wh_1": WaitingDeliveries(held=1, retrying=2, next_attempt_at=SOON),
        "wh_2": WaitingDeliveries(held=1),
    }
    assert await index.waiting_of_webhooks([]) == {}
    counted = await index.count_waiting("acme")
    assert counted.counts == {(): {"held": 2, "retrying": 3}}
    assert (await index.count_waiting("other")).counts == {}
    monkeypatch.setattr(waiting, "MAX_WAITING_OF_ONE", 2)
    found = await index.waiting_of_webhooks(["wh_1", "wh_2"])
    assert (found["wh_1"].held + found["wh_1"].retrying, found["wh_1"].is_capped) == (2, True)
    assert not found["wh_2"].is_capped
