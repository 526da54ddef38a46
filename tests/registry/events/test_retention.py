"""What is older than the retention leaves the index: finished events, and counters. Open events stay."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from structlog.testing import capture_logs

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.rows import EventKey
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.events import retention
from hookkeeper.registry.events.leases import Term
from hookkeeper.registry.events.tables import deliveries, events, rollups
from hookkeeper.registry.models import Tenant
from hookkeeper.registry.storage import database
from hookkeeper.registry.storage.database import Database
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.tenants import TenantDeleted
from hookkeeper.registry.upkeep import retention_task
from hookkeeper.registry.upkeep.retention_task import RetentionTask, longest_in_force
from reports import changed, reported
from timeouts import WAIT_TIMEOUT
from written_index import WrittenIndex

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
RETENTION = 10 * DAY


def report(
    event_id: str, accepted: timedelta, finished: timedelta | None = None, targets: int = 1, **changes: Any
) -> RunReport:
    """Return the report of an event that was accepted so long ago, and finished so long ago or is open."""
    accepted_at, finished_at = NOW - accepted, None if finished is None else NOW - finished
    attempt = Attempt(number=1, started_at=accepted_at, duration_ms=5, status_code=200)
    status = "delivering" if finished is None else "succeeded"
    delivery = Delivery(
        id="", webhook_id="wh_1", status="retrying" if finished is None else "succeeded", attempts=(attempt,)
    )
    made = tuple(delivery.model_copy(update={"id": f"wh_{n}"}) for n in range(targets))
    given = reported("acme", event_id, accepted_at, finished_at or accepted_at, made, status=status)
    return changed(given, finished_at=finished_at, **changes)


async def ids(engine: AsyncEngine, table: Table, column: str) -> list[str]:
    async with engine.connect() as connection:
        return sorted(set(await connection.scalars(select(table.c[column]))))


async def kept(engine: AsyncEngine) -> list[str]:
    """Return the events that are left; their deliveries are as well."""
    of_events = await ids(engine, events, "id")
    assert await ids(engine, deliveries, "event_id") == of_events
    return of_events


async def write(engine: AsyncEngine, reports: Iterable[RunReport]) -> WrittenIndex:
    index = WrittenIndex(engine)
    await index.write(list(reports))
    return index


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAUSE", 0)


async def test_an_event_goes_a_day_after_it_has_been_finished_for_the_retention(engine: AsyncEngine) -> None:
    hour = timedelta(hours=1)
    index = await write(
        engine,
        [
            report("long-ago", 20 * DAY, 20 * DAY),
            report("finished-late", 20 * DAY, 3 * DAY),
            report("just-over", 12 * DAY, RETENTION + DAY + hour),
            report("just-under", 12 * DAY, RETENTION + DAY - hour),
            report("open", 300 * DAY),
            report("new", hour, hour),
        ],
    )
    await index.expire(NOW, RETENTION)
    assert await kept(engine) == ["finished-late", "just-under", "new", "open"]
    await index.expire(NOW + 9 * DAY, RETENTION)
    assert await kept(engine) == ["new", "open"]
    await index.expire(NOW + 800 * DAY, RETENTION)
    assert await kept(engine) == ["open"]


async def test_very_many_rows_go_in_small_transactions(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setup: pages of ten events, transactions of seven rows; forty events, one of them with thirty deliveries.
    Open ones are between them. Proves: pages continue where the last one ended, whatever is deleted.
    """
    monkeypatch.setattr(retention, "EVENTS_PER_QUERY", 10)
    for module in (retention, database):
        monkeypatch.setattr(module, "ROWS_PER_DELETION", 7)
    finished = [
        report(f"f-{n}", 20 * DAY - timedelta(minutes=n), 15 * DAY, targets=30 if n == 3 else 2) for n in range(40)
    ]
    is_open = [report(f"o-{n}", 20 * DAY - timedelta(minutes=n)) for n in range(0, 40, 3)]
    index = await write(engine, [*finished, *is_open])
    await index.expire(NOW, RETENTION)
    assert await kept(engine) == sorted(given.event.id for given in is_open)


async def test_an_event_that_is_redelivered_meanwhile_stays(engine: AsyncEngine) -> None:
    index = await write(engine, [report("a", 20 * DAY, 20 * DAY), report("b", 20 * DAY, 20 * DAY)])
    keys = [EventKey(NOW - 20 * DAY, "acme", name) for name in ("a", "b")]
    await index.write([report("a", 20 * DAY, None, as_of=NOW)])
    await retention._delete_events(Database(engine), keys, NOW - RETENTION)
    assert await kept(engine) == ["a"]


async def test_counters(engine: AsyncEngine) -> None:
    """Minutes are kept for two days, hours and days for the retention, but thirty days at least."""
    ages = (1 * DAY, 3 * DAY, 25 * DAY, 35 * DAY, 65 * DAY)
    index = await write(engine, [report(f"e-{age.days}", age, age) for age in ages])

    async def days() -> dict[int, list[int]]:
        async with engine.connect() as connection:
            rows = (await connection.execute(select(rollups.c.seconds, rollups.c["at"]).distinct())).all()
        return {
            seconds: sorted((int(NOW.timestamp()) - at) // 86400 for s, at in rows if s == seconds)
            for seconds, _ in rows
        }

    await index.expire(NOW, 60 * DAY)
    assert await days() == {60: [1], 3600: [1, 3, 25, 35], 86_400: [1, 3, 25, 35]}
    await index.expire(NOW, RETENTION)
    assert await days() == {60: [1], 3600: [1, 3, 25], 86_400: [1, 3, 25]}


async def test_an_erased_event_is_gone_and_stays_counted(engine: AsyncEngine) -> None:
    """Also one with more deliveries than two statements delete. Its id is free for another event."""
    index = await write(engine, [report("a", DAY, DAY, targets=1200), report("b", DAY, DAY)])
    for _ in range(2):
        await index.erase("acme", "a")
        assert await kept(engine) == ["b"]
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.sum(rollups.c.events)).where(rollups.c.seconds == 60)) == 4
    await index.write([report("a", timedelta(hours=1))])
    assert await kept(engine) == ["a", "b"]


async def right_time() -> datetime | None:
    return datetime.now(UTC)


@pytest.mark.parametrize("ahead", ["worker", "temporal", "unknown"])
async def test_a_clock_that_is_ahead_removes_nothing_early(
    engine: AsyncEngine, store: Store, monkeypatch: pytest.MonkeyPatch, ahead: str
) -> None:
    """Setup: an event and an entry of an hour ago. The clock of the worker or of Temporal is a month ahead, or nobody
    knows the time. What this proves: both are kept, and the log says why.
    """
    month = 30 * DAY
    age = NOW - (datetime.now(UTC) - timedelta(hours=1))
    index = await write(engine, [report("a", age, age)])
    await store.audit.keep(AuditEntry(key_id="k", key_name="x", action="a", object_id="o", tenant=None))

    async def server_time() -> datetime | None:
        return None if ahead == "unknown" else datetime.now(UTC) + (month if ahead == "temporal" else timedelta())

    if ahead != "temporal":
        monkeypatch.setattr(retention_task, "utc_now", lambda: datetime.now(UTC) + month)
    with capture_logs() as logs:
        await RetentionTask(index, RETENTION, server_time, store.audit, RETENTION).expire()
    assert await kept(engine) == ["a"]
    assert len((await store.audit.page(tenant=None, since=None, until=None, limit=9, cursor=None))[0]) == 1
    (line,) = logs
    assert line["log_level"] == "warning"
    if ahead == "unknown":
        assert line["event"] == "retention not applied"
    else:
        assert abs(line["seconds_ahead"]) == pytest.approx(month.total_seconds(), abs=60)


async def test_one_process_removes_it_once_an_hour(engine: AsyncEngine) -> None:
    """Setup: an event that finished long ago by the clock. Timeline: two processes are to remove what is too old.
    Proves: the first one does so, and the other leaves it to the first for the next hour.
    """
    age = NOW - (datetime.now(UTC) - 2 * RETENTION)
    index = await write(engine, [report("a", age, age)])
    first, second = RetentionTask(index, RETENTION, right_time), RetentionTask(index, RETENTION, right_time)
    await first.expire()
    assert await kept(engine) == []
    await index.write([report("b", age, age)])
    for task in (second, first):
        await task.expire()
        assert await kept(engine) == ["b"]


async def test_entries_of_the_audit_log_go_if_they_have_a_retention(engine: AsyncEngine, store: Store) -> None:
    old = AuditEntry(key_id="k", key_name="x", action="a", object_id="o", tenant=None, at=datetime.now(UTC) - 9 * DAY)
    await store.audit.keep(old)
    index = WrittenIndex(engine)
    tasks = [RetentionTask(index, RETENTION, right_time, store.audit, kept) for kept in (None, 10 * DAY, 8 * DAY)]
    left = []
    for task in tasks:
        await index.leases.take(retention_task.LEASE_NAME, -1)  # the hour is over
        await task.expire()
        page, _ = await store.audit.page(tenant=None, since=None, until=None, limit=9, cursor=None)
        left.append(len(page))
    assert left == [1, 1, 0]


async def test_deleted_tenants_are_forgotten_after_the_retention(engine: AsyncEngine, store: Store) -> None:
    for tenant in ("long-ago", "lately", "there"):
        await store.tenants.note(tenant)
    await store.tenants.remove("lately")
    await store.tenants.remove("long-ago")
    async with AsyncSession(engine) as session, session.begin():
        long_ago = update(Tenant).where(Tenant.id == "long-ago")
        await session.execute(long_ago.values(deleted_at=datetime.now(UTC) - RETENTION - DAY))
    await RetentionTask(WrittenIndex(engine), RETENTION, right_time, tenants=store.tenants).expire()
    await store.tenants.note("long-ago")
    with pytest.raises(TenantDeleted, match="PUT /v1/tenants/lately"):
        await store.tenants.note("lately")
    assert await store.tenants.latest_ids(9) == ["long-ago", "there"]


async def test_a_worker_removes_it_in_the_background(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_task, "FIRST_DELAY", 0)
    age = NOW - (datetime.now(UTC) - 2 * RETENTION)
    index = await write(engine, [report("a", age, age)])
    async with RetentionTask(index, RETENTION, right_time).running(), asyncio.timeout(WAIT_TIMEOUT):
        while await ids(engine, events, "id"):
            await asyncio.sleep(0.01)


async def test_events_stay_after_a_shorter_retention_until_temporal_has_no_older_run(engine: AsyncEngine) -> None:
    """Temporal keeps what ended before for the retention of that time, and its ids are known for as long."""
    clock = datetime.now(UTC)
    age = NOW - (clock - 15 * DAY)
    index = await write(engine, [report("a", age, age)])

    async def expire(after: timedelta, retention: timedelta) -> list[str]:
        async def server_time() -> datetime | None:
            return clock + after

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(retention_task, "utc_now", lambda: clock + after)
            await index.leases.take(retention_task.LEASE_NAME, -1)
            await RetentionTask(index, retention, server_time).expire()
        return await kept(engine)

    assert await expire(timedelta(), 30 * DAY) == ["a"]
    for days in (1, 9, 13):
        assert await expire(days * DAY, 10 * DAY) == ["a"]
    assert await expire(30 * DAY, 10 * DAY) == []


def test_the_longest_retention_counts_while_temporal_keeps_what_ended_under_it() -> None:
    before = Term(NOW, NOW + 30 * DAY)
    cases = [
        (None, 0, 10, Term(NOW, NOW + 10 * DAY)),
        (before, 1, 30, Term(NOW + DAY, NOW + 31 * DAY)),
        (before, 1, 40, Term(NOW + DAY, NOW + 41 * DAY)),
        (before, 1, 10, before),
        (before, 29, 10, before),
        (before, 30, 10, Term(NOW + 30 * DAY, NOW + 40 * DAY)),
    ]
    for known, day, chosen, expected in cases:
        assert longest_in_force(known, NOW + day * DAY, chosen * DAY) == expected
