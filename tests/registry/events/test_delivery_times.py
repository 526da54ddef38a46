"""How long deliveries took, from acceptance to success."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.registry.events.delivery_times import DeliveryTimes, summary
from hookkeeper.statuses import DeliveryStatus
from hookkeeper.times import utc_now
from reports import reported
from written_index import WrittenIndex

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([], None),
        ([(NOW, None, "failed", NOW), (NOW, None, "held", None), (NOW, None, "cancelled", NOW)], None),
        ([(NOW - 9 * SECOND, None, "succeeded", NOW - 8 * SECOND)], DeliveryTimes(1.0, 1.0, 1)),
        ([(NOW - 9 * SECOND, NOW - 3 * SECOND, "succeeded", NOW)], DeliveryTimes(3.0, 3.0, 1)),
        ([(NOW - 9 * SECOND, NOW + SECOND, "pending", None)], None),
        ([(NOW - 9 * SECOND, None, "retrying", None), (NOW, None, "pending", None)], DeliveryTimes(0.0, 9.0, 2)),
        ([(NOW - n * SECOND, None, "succeeded", NOW) for n in range(1, 101)], DeliveryTimes(50.0, 95.0, 100)),
    ],
)
def test_summary(
    rows: list[tuple[datetime, datetime | None, DeliveryStatus, datetime | None]], wanted: DeliveryTimes | None
) -> None:
    assert summary(rows, NOW) == wanted


async def test_the_latest_deliveries_are_read(engine: AsyncEngine) -> None:
    """Setup: a webhook that answers in a second, one that waits for a minute, and a test of a third."""
    index, now = WrittenIndex(engine), utc_now()
    accepted = now - timedelta(minutes=1)
    made = Attempt(number=1, trigger="scheduled", started_at=accepted, duration_ms=1000.0)
    done, waits, test = (
        Delivery(id=id_, webhook_id=id_, status=status, attempts=(made,))
        for id_, status in (("wh_1", "succeeded"), ("wh_2", "retrying"), ("wh_3", "succeeded"))
    )
    await index.write(
        [
            reported("acme", "evt_1", accepted, now, [done]),
            reported("acme", "evt_2", accepted, now, [waits]),
            reported("globex", "evt_3", accepted, now, [test], is_test=True),
        ]
    )
    assert await index.delivery_times("acme", "wh_1") == DeliveryTimes(1.0, 1.0, 1)
    assert await index.delivery_times("globex") is None
    assert await index.delivery_times("globex", "wh_3") is None
    for of_all in (await index.delivery_times("acme"), await index.delivery_times(None)):
        assert of_all and (of_all.median, of_all.number) == (1.0, 2)
        assert of_all.p95 == pytest.approx(60, abs=30)
