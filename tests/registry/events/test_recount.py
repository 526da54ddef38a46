"""Totals over all tenants are mended: code of an earlier release does not write what a migration has added."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs
from typer.testing import CliRunner

from cli.main import app
from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events.rollup import ALL_TENANTS, COUNTERS
from hookkeeper.registry.events.tables import rollups
from hookkeeper.registry.upkeep.retention_task import RetentionTask
from reports import reported
from written_index import WrittenIndex

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
IS_TOTAL = rollups.c.tenant == ALL_TENANTS


def reports(tenant: str, age: timedelta, number: int) -> list[RunReport]:
    """Return the reports of events of this age that were delivered at once."""
    at = NOW - age
    attempt = Attempt(number=1, started_at=at, duration_ms=5, status_code=200)
    delivery = Delivery(id="wh_1", webhook_id="wh_1", status="succeeded", attempts=(attempt,))
    ended = {"status": "succeeded", "finished_at": at}
    return [reported(tenant, f"{tenant}-{age}-{n}", at, at, (delivery,), **ended) for n in range(number)]


async def counters(engine: AsyncEngine, *, totals: bool) -> dict[Any, Counter[str]]:
    """Return the counters by time and channel: those of all tenants, or the sums of each tenant's."""
    found: dict[Any, Counter[str]] = {}
    async with engine.connect() as connection:
        for row in await connection.execute(select(rollups).where(IS_TOTAL if totals else ~IS_TOTAL)):
            counts = found.setdefault((row.seconds, row.at, row.channel), Counter())
            counts.update({name: getattr(row, name) for name in COUNTERS})
    return found


async def forget_totals(engine: AsyncEngine) -> None:
    """Leave the rows as code without totals writes them."""
    async with engine.begin() as connection:
        await connection.execute(delete(rollups).where(IS_TOTAL))


async def test_totals_that_old_code_did_not_write_are_mended_while_events_are_written(engine: AsyncEngine) -> None:
    """Timeline: old code counts events of two tenants on three days; then two recounts and writes, all at once."""
    index = WrittenIndex(engine)
    ages = (timedelta(), timedelta(hours=3), timedelta(days=2))
    for age in ages:
        await index.write([*reports("acme", age, 3), *reports("globex", age, 2)])
    await forget_totals(engine)
    await index.write(reports("acme", timedelta(hours=1), 1))
    assert await counters(engine, totals=True) != await counters(engine, totals=False)
    later = (index.write(reports("initech", n * timedelta(minutes=7), 2)) for n in range(8))
    mended, _ = await asyncio.gather(asyncio.gather(index.recount(), index.recount()), asyncio.gather(*later))
    assert sum(mended) > 0
    totals = await counters(engine, totals=True)
    assert totals == await counters(engine, totals=False)
    assert await index.recount() == 0
    assert max(counts["events"] for counts in totals.values()) >= 5


async def test_totals_that_are_too_large_are_mended(engine: AsyncEngine) -> None:
    index = WrittenIndex(engine)
    await index.write(reports("acme", timedelta(), 3))
    async with engine.begin() as connection:
        await connection.execute(update(rollups).where(IS_TOTAL).values(attempts=rollups.c.attempts + 7))
    assert await index.recount() > 0
    assert await counters(engine, totals=True) == await counters(engine, totals=False)


async def test_one_worker_mends_totals_once_a_day(engine: AsyncEngine) -> None:
    index = WrittenIndex(engine)

    async def server_time() -> datetime:
        return datetime.now(UTC)

    async def hour(n: int) -> bool:
        """Forget the totals; let two workers do what they do each hour, and return whether they are right again."""
        await index.write(reports("acme", timedelta(minutes=n), 1))
        await forget_totals(engine)
        for _ in range(2):
            await index.leases.take("retention", -1)
            await RetentionTask(index, timedelta(days=7), server_time).expire()
        return await counters(engine, totals=True) == await counters(engine, totals=False)

    with capture_logs() as logs:
        assert [await hour(1), await hour(2)] == [True, False]
    assert [line["event"] for line in logs] == ["totals of all tenants mended"]
    await index.leases.take("recount", -1)  # the day is over
    assert await hour(3)


async def test_the_command_mends_totals_and_says_how_many_were_wrong(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKKEEPER_DATABASE_URL", database_url)
    right = "Wrong rows: 0 of tenants, 0 of totals"

    def recount() -> tuple[int, str]:
        done = CliRunner().invoke(app, ["recount"])
        return done.exit_code, done.output.strip()

    assert await asyncio.to_thread(recount) == (0, right)
    await WrittenIndex(engine).write(reports("acme", timedelta(), 1))
    await forget_totals(engine)
    wrong = "Wrong rows: 0 of tenants, 6 of totals"  # events and attempts, of a minute, an hour and a day
    assert [await asyncio.to_thread(recount) for _ in range(2)] == [(0, wrong), (0, right)]
