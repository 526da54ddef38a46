"""Counters of tenants are mended from rows: those that rows can tell, in windows that are over."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from typer.testing import CliRunner

from cli.main import app
from hookkeeper.messages.event import Attempt, Delivery, Reason
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.events import counter_rows
from hookkeeper.registry.events.rollup import COUNTERS, HOUR, MINUTE, OTHERS
from hookkeeper.registry.events.tables import rollups
from hookkeeper.statuses import DeliveryStatus
from reports import changed, reported
from written_index import WrittenIndex

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
LONG_AGO = timedelta(days=7)
ENDS: tuple[tuple[DeliveryStatus, Reason | None, str | None], ...] = (
    ("succeeded", None, None),
    ("failed", "exhausted", "http_500"),
    ("cancelled", None, "timeout"),
    ("retrying", None, "dns"),
)
OF_ACME = rollups.c.tenant == "acme"


def report(tenant: str, age: timedelta, name: str, n: int = 0, *, attempts: int = 2) -> RunReport:
    """Return the report of an event whose delivery ends in one of four ways, after this many attempts."""
    at = NOW - age
    status, reason, error = ENDS[n % len(ENDS)]
    made = tuple(
        Attempt(
            number=number,
            trigger="manual" if number == 3 else "scheduled",
            started_at=at + timedelta(seconds=number),
            duration_ms=40 * number,
            status_code=None if error else 200,
            error="timeout" if number < attempts else error,
        )
        for number in range(1, attempts + 1)
    )
    delivery = Delivery(id=f"wh_{n % 2}", webhook_id=f"wh_{n % 2}", status=status, reason=reason, attempts=made)
    end = at + timedelta(seconds=9)
    finished_at = None if status == "retrying" else end
    return reported(tenant, f"{name}-{n}", at, end, [delivery], type=f"order.{n % 3}", size=2, finished_at=finished_at)


def reports(tenant: str, age: timedelta) -> Iterator[RunReport]:
    return (report(tenant, age, f"{tenant}-{age}", n) for n in range(8))


async def counters(engine: AsyncEngine, *where: ColumnElement[bool]) -> dict[Any, dict[str, int]]:
    """Return the counters that are not 0, by their keys."""
    width = len(rollups.columns) - len(COUNTERS)
    async with engine.connect() as connection:
        rows = (await connection.execute(select(rollups).where(*where))).all()
    found = {row[:width]: dict(zip(COUNTERS, row[width:], strict=True)) for row in rows}
    kept = {key: {name: n for name, n in counted.items() if n} for key, counted in found.items()}
    return {tuple(key): counted for key, counted in kept.items() if counted}


async def spoil(engine: AsyncEngine, *where: ColumnElement[bool], **added: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            update(rollups).where(*where).values({name: rollups.c[name] + number for name, number in added.items()})
        )


async def recount(index: WrittenIndex, now: datetime = NOW) -> int:
    return await index.recount_tenants(now - LONG_AGO, now)


async def test_counters_of_tenants_are_mended_while_events_are_written(engine: AsyncEngine) -> None:
    """Timeline: events of two tenants end in each way; counters get too high, too low, and lost; then two recounts and
    writes, all at once.
    """
    index = WrittenIndex(engine)
    ages = (timedelta(hours=1), timedelta(hours=3), timedelta(days=3))
    for age in ages:
        await index.write([*reports("acme", age), *reports("globex", age)])
    is_over = rollups.c.at + rollups.c.seconds <= int((NOW - timedelta(minutes=30)).timestamp())
    over = and_(is_over, or_(rollups.c.seconds > MINUTE, rollups.c.at > int((NOW - timedelta(days=1)).timestamp())))
    right = await counters(engine, over)
    await spoil(engine, OF_ACME, over, events=7, attempts=5, server_errors=-1, latency_3=2)
    await spoil(engine, OF_ACME, over, rollups.c.webhook_id == "wh_1", deliveries_succeeded=3, deliveries_cancelled=-1)
    async with engine.begin() as connection:
        await connection.execute(delete(rollups).where(over, rollups.c.tenant == "globex", rollups.c.type == "order.1"))
    assert await counters(engine, over) != right
    later = (index.write([report("acme", timedelta(), f"later-{n}")]) for n in range(8))
    mended, _ = await asyncio.gather(asyncio.gather(recount(index), recount(index)), asyncio.gather(*later))
    assert sum(mended) > 0
    assert await counters(engine, over) == right
    assert await recount(index) == 0
    assert await index.recount() == 0  # those of all tenants were right


async def test_a_counter_of_a_tenant_without_rows_is_mended(engine: AsyncEngine) -> None:
    """The event was counted, and its acceptance did not hold."""
    index = WrittenIndex(engine)
    await index.write([report("acme", timedelta(hours=3), "e")])
    await index.erase("acme", "e-0")
    assert await recount(index) > 0
    assert await counters(engine, OF_ACME, rollups.c.seconds < 86_400) == {}


async def test_what_rows_cannot_tell_stays(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setup: an event was erased; states lack attempts; a window is crowded, one is not over, one is too old."""
    monkeypatch.setattr(counter_rows, "MAX_ROWS_BY_TYPE", 8)
    index, three_hours = WrittenIndex(engine), timedelta(hours=3)
    await index.write([report("erased", three_hours, "e", n) for n in range(2)])
    await index.erase("erased", "e-0")
    entry = AuditEntry(key_id="k", key_name="k", action="event.erase", object_id="e-0", tenant="erased")
    async with AsyncSession(engine) as session, session.begin():
        session.add(entry)
    many = report("long", three_hours, "e", attempts=100)
    (kept,) = many.deliveries
    kept = kept.model_copy(update={"attempts": kept.attempts[50:], "attempts_omitted": 50})
    await index.write([many])
    await index.write([changed(many, as_of=many.event.as_of + timedelta(seconds=1), deliveries=(kept,))])
    await index.write([report("crowded", three_hours, f"e{n}", n) for n in range(12)])
    await index.write([report("now", timedelta(), "e"), report("old", LONG_AGO + timedelta(days=2), "e")])
    crowded = await counters(engine, rollups.c.type == OTHERS)
    assert {key[1] for key in crowded} == {"crowded"}
    right = await counters(engine)
    await spoil(engine, rollups.c.tenant.in_(("now", "old")), rollups.c.type != "", attempts=7)
    spoilt = await counters(engine)
    assert spoilt != right
    assert await recount(index) == 0
    assert await counters(engine) == spoilt

    lost = rollups.c.tenant == "erased", rollups.c.seconds == MINUTE, rollups.c.webhook_id == "wh_1"
    await spoil(engine, *lost, attempts=-1)
    vague = rollups.c.tenant == "long", rollups.c.seconds == HOUR, rollups.c.webhook_id == "wh_0"
    await spoil(engine, *vague, deliveries_succeeded=2)
    assert await recount(index) == 2
    assert await counters(engine) == spoilt


async def test_a_counter_that_changes_while_rows_are_read_is_left_alone(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = WrittenIndex(engine)
    await index.write([report("acme", timedelta(hours=3), "e")])
    right = await counters(engine)
    await spoil(engine, OF_ACME, attempts=1)
    module = "hookkeeper.registry.events.recount_tenants"
    read = asyncio.Event()

    async def erased_late(*_: object) -> float:
        """Let the counters be right again after they and the rows were read."""
        await spoil(engine, OF_ACME, attempts=-1)
        read.set()
        return 0.0

    monkeypatch.setattr(f"{module}._erased", erased_late)
    assert await recount(index) == 0
    assert read.is_set()
    assert await counters(engine) == right


async def test_the_command_mends_counters_of_tenants_and_totals(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKKEEPER_DATABASE_URL", database_url)

    async def command(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, app, ["recount", *arguments])
        return done.exit_code, done.output.strip()

    def said(tenants: int, totals: int) -> tuple[int, str]:
        return 0, f"Wrong rows: {tenants} of tenants, {totals} of totals"

    index = WrittenIndex(engine)
    await index.write(list(reports("acme", timedelta(days=3))))
    right = await counters(engine)
    is_hour = rollups.c.seconds == HOUR
    await spoil(engine, OF_ACME, is_hour, rollups.c.webhook_id == "", rollups.c.type == "order.1", events=3)
    assert await command("--since", "2d") == said(0, 1)
    assert await command() == said(1, 1)
    assert await counters(engine) == right
    assert await command() == said(0, 0)
    assert (await command("--since", "yesterday"))[0] == 2
