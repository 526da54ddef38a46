"""Slots: one time for each request, also where many workers reserve at once."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Make = Callable[..., Webhook]


def seconds(times: list[datetime]) -> list[float]:
    return [round((time - NOW).total_seconds(), 3) for time in times]


async def test_each_request_has_a_slot_of_its_own(store: Store, make_webhook: Make) -> None:
    await store.add(make_webhook(rate_limit=4.0))
    slots = await asyncio.gather(*(store.slots.reserve("wh_1", NOW, 4.0) for _ in range(8)))
    assert seconds(sorted(slots)) == [0.25 * n for n in range(8)]


async def test_a_webhook_with_thousands_waiting_leaves_the_slots_of_another_free(
    store: Store, make_webhook: Make
) -> None:
    for webhook_id in ("wh_1", "wh_2"):
        await store.add(make_webhook(webhook_id))
    far = await store.slots.reserve("wh_1", NOW + timedelta(hours=3), 1.0)
    assert seconds([far, await store.slots.reserve("wh_2", NOW, 1.0)]) == [3 * 3600.0, 0.0]


async def test_slots_that_have_passed_are_not_made_up_for(store: Store, make_webhook: Make) -> None:
    await store.add(make_webhook())
    await store.slots.reserve("wh_1", NOW - timedelta(hours=1), 1.0)
    assert seconds([await store.slots.reserve("wh_1", NOW, 1.0) for _ in range(2)]) == [0.0, 1.0]


@pytest.mark.parametrize(("change", "next_slot"), [({"rate_limit": 5.0}, 0.0), ({"name": "new"}, 100.0)])
async def test_a_new_rate_begins_at_once(
    store: Store, make_webhook: Make, change: dict[str, object], next_slot: float
) -> None:
    await store.add(make_webhook(rate_limit=0.01))
    await store.slots.reserve("wh_1", NOW, 0.01)
    await store.update("wh_1", "acme", change)
    assert seconds([await store.slots.reserve("wh_1", NOW, 1.0)]) == [next_slot]


async def test_a_webhook_that_is_gone_has_no_line(store: Store) -> None:
    assert await store.slots.reserve("wh_gone", NOW, 1.0) == NOW
