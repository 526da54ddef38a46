"""Reserved times: one for each request, also where many workers reserve at once."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Make = Callable[..., Webhook]


def seconds(times: list[datetime]) -> list[float]:
    return [round((time - NOW).total_seconds(), 3) for time in times]


async def test_each_request_has_a_time_of_its_own(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook(rate_limit=4.0))
    times = await asyncio.gather(*(store.reserved_times.reserve("wh_1", NOW, 4.0) for _ in range(8)))
    assert seconds(sorted(times)) == [0.25 * n for n in range(8)]


async def test_a_webhook_with_thousands_waiting_leaves_the_times_of_another_free(
    store: Store, make_webhook: Make
) -> None:
    for webhook_id in ("wh_1", "wh_2"):
        await store.webhooks.add(make_webhook(webhook_id))
    far = await store.reserved_times.reserve("wh_1", NOW + timedelta(hours=3), 1.0)
    assert seconds([far, await store.reserved_times.reserve("wh_2", NOW, 1.0)]) == [3 * 3600.0, 0.0]


async def test_times_that_have_passed_are_not_made_up_for(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    await store.reserved_times.reserve("wh_1", NOW - timedelta(hours=1), 1.0)
    assert seconds([await store.reserved_times.reserve("wh_1", NOW, 1.0) for _ in range(2)]) == [0.0, 1.0]


@pytest.mark.parametrize(("change", "next_time"), [({"rate_limit": 5.0}, 0.0), ({"name": "new"}, 100.0)])
async def test_a_new_rate_begins_at_once(
    store: Store, make_webhook: Make, change: dict[str, object], next_time: float
) -> None:
    await store.webhooks.add(make_webhook(rate_limit=0.01))
    await store.reserved_times.reserve("wh_1", NOW, 0.01)
    await store.webhooks.update("wh_1", "acme", change)
    assert seconds([await store.reserved_times.reserve("wh_1", NOW, 1.0)]) == [next_time]


async def test_a_webhook_that_is_gone_has_no_line(store: Store) -> None:
    assert await store.reserved_times.reserve("wh_gone", NOW, 1.0) == NOW


async def test_a_backlog_reserves_in_few_transactions(store: Store, engine: AsyncEngine, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook(rate_limit=10.0))
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    times = await asyncio.gather(*(store.reserved_times.reserve("wh_1", NOW, 10.0) for _ in range(300)))
    assert seconds(sorted(times)) == [round(n / 10, 3) for n in range(300)]
    assert sum(statement.startswith("UPDATE") for statement in statements) <= 10


async def test_a_group_waits_for_the_latest_of_its_requests(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    later = NOW + timedelta(seconds=2)
    times = await asyncio.gather(
        *(store.reserved_times.reserve("wh_1", earliest, 1.0) for earliest in (NOW, later, NOW))
    )
    assert seconds(times) == [2.0, 3.0, 4.0]


async def test_a_failed_transaction_fails_its_requests_only(
    store: Store, engine: AsyncEngine, make_webhook: Make
) -> None:
    await store.webhooks.add(make_webhook())

    def fail(*_: object) -> None:
        event.remove(engine.sync_engine, "before_cursor_execute", fail)
        raise OSError("no connection")

    event.listen(engine.sync_engine, "before_cursor_execute", fail)
    requests = [store.reserved_times.reserve("wh_1", NOW, 1.0) for _ in range(3)]
    failed = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(error) for error in failed] == [RegistryUnavailable] * 3
    assert seconds([await store.reserved_times.reserve("wh_1", NOW, 1.0)]) == [0.0]


async def test_a_request_that_is_cancelled_leaves_the_others_of_its_group(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())
    first, second = (asyncio.create_task(store.reserved_times.reserve("wh_1", NOW, 1.0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert seconds([await second]) == [1.0]


async def test_requests_that_come_meanwhile_form_the_next_group(store: Store, make_webhook: Make) -> None:
    await store.webhooks.add(make_webhook())

    async def one_after_another(count: int) -> list[datetime]:
        return [await store.reserved_times.reserve("wh_1", NOW, 1.0) for _ in range(count)]

    times = await asyncio.gather(*(one_after_another(n) for n in (1, 5, 9, 13)))
    assert sorted(seconds([time for of_one in times for time in of_one])) == [float(n) for n in range(28)]
