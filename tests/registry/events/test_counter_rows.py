"""A tenant has a bounded number of rows of counters, whatever types its events have; and no count is lost."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events import counter_rows
from hookkeeper.registry.events.rollup import OTHERS
from hookkeeper.registry.events.statistics import Measures, StatisticsQuery
from hookkeeper.registry.events.tables import rollups
from hookkeeper.statuses import DeliveryStatus
from reports import reported
from written_index import WrittenIndex

NOW = datetime(2026, 1, 10, 12, 34, 56, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter_rows, "MAX_ROWS_BY_TYPE", 20)
    monkeypatch.setattr(counter_rows, "MAX_ROWS_BY_WEBHOOK", 30)


def report(
    number: int, *states: DeliveryStatus, event_type: str, webhook: str = "wh_1", tenant: str = "acme"
) -> RunReport:
    """Return a report of an event, after a delivery with these states, each from one attempt."""
    at = NOW - timedelta(hours=1) + timedelta(seconds=number % 60)
    attempts = tuple(
        Attempt(number=n + 1, started_at=at + timedelta(minutes=n), duration_ms=9.0, error=None)
        for n in range(len(states))
    )
    deliveries = [Delivery(id=webhook, webhook_id=webhook, status=states[-1], attempts=attempts)] if states else []
    as_of = at + timedelta(seconds=len(states))
    return reported(tenant, f"evt_{number}", at, as_of, deliveries, type=event_type, finished_at=as_of)


async def measured(index: WrittenIndex, by: str) -> dict[str, Measures]:
    query = StatisticsQuery(since=NOW - DAY, until=NOW, now=NOW, by=by)  # type: ignore[arg-type]
    groups = (await index.statistics(query)).groups
    return {"".join(group.names.values()): group.total for group in groups}


async def most_rows(engine: AsyncEngine, tenant: str) -> int:
    """Return how many rows the tenant's fullest minute, hour or day has."""
    query = select(func.count()).where(rollups.c.tenant == tenant).group_by(rollups.c.seconds, rollups.c.at)
    async with engine.connect() as connection:
        return max(await connection.scalars(query))


async def test_a_tenant_with_a_type_for_each_event_has_few_rows(engine: AsyncEngine) -> None:
    """Setup: 200 events of one tenant, each of its own type, and three of another tenant.
    Proves: the types beyond the bound are counted together, and every total is exact.
    """
    index = WrittenIndex(engine)
    for n in range(0, 200, 10):
        await index.write([report(m, event_type=f"type_{m:03}") for m in range(n, n + 10)])
    await index.write([report(n, event_type=f"type_{n}", tenant="zeta") for n in range(3)])

    assert await most_rows(engine, "acme") == 21
    by_type = await measured(index, "type")
    assert by_type[OTHERS]["events"] == 180
    assert by_type["type_019"]["events"] == by_type["type_2"]["events"] == 1
    by_tenant = await measured(index, "tenant")
    assert {tenant: found["events"] for tenant, found in by_tenant.items()} == {"acme": 200, "zeta": 3}
    assert (await measured(index, "total"))[""]["events"] == 203


async def test_a_tenant_with_many_webhooks_has_few_rows(engine: AsyncEngine) -> None:
    index = WrittenIndex(engine)
    await index.write([report(n, "succeeded", event_type=f"type_{n}", webhook=f"wh_{n}") for n in range(200)])
    assert await most_rows(engine, "acme") == 31
    assert (await measured(index, "channel"))["webhook"]["attempts"] == 200
    assert (await measured(index, "total"))[""]["deliveries_succeeded"] == 200


async def test_what_is_subtracted_later_is_subtracted_where_it_was_added(engine: AsyncEngine) -> None:
    """Setup: 80 deliveries of 40 types finish up to four times, as redelivered ones do.
    Timeline: the reports of all are written in a random order, some of them twice.
    Proves: no counter is ever left below zero, and totals are those of the latest reports.
    """
    chosen = random.Random(7)
    states: list[list[DeliveryStatus]] = [
        chosen.choices(("succeeded", "failed", "retrying", "cancelled"), k=chosen.randint(1, 4)) for _ in range(80)
    ]
    reports = [
        report(n, *of_one[: length + 1], event_type=f"type_{n % 40}", webhook=f"wh_{n % 9}")
        for n, of_one in enumerate(states)
        for length in range(len(of_one))
    ]
    chosen.shuffle(reports)
    index = WrittenIndex(engine)
    for n in range(0, len(reports), 9):
        await index.write(reports[n : n + 10])

    total = (await measured(index, "total"))[""]
    last = Counter(of_one[-1] for of_one in states)
    assert (total["events"], total["attempts"]) == (80, sum(map(len, states)))
    for status in ("succeeded", "failed", "cancelled"):
        assert total[f"deliveries_{status}"] == last[status], status
    assert OTHERS in await measured(index, "type")
    assert await most_rows(engine, "acme") <= 31
    async with engine.connect() as connection:
        for row in (await connection.execute(select(rollups))).mappings():
            assert min(value for name, value in row.items() if name not in rollups.primary_key.columns) >= 0, row
