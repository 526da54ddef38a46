"""What is older than the retention leaves the index: finished events, and counters. Open events stay."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import EventProgress, RunReport
from hookkeeper.registry import retention_task, row_deletion
from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.claims import Claim, claims
from hookkeeper.registry.database import Database
from hookkeeper.registry.index import deletion, retention
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.leases import SweepPosition
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.index.tables import deliveries, erased_events, events, rollups
from hookkeeper.registry.retention_task import RetentionTask, longest_in_force
from hookkeeper.registry.store import Store
from timeouts import WAIT_TIMEOUT

pytestmark = pytest.mark.usefixtures("patient_registry")

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
    progress = EventProgress(status=status, needs_attention=False, deliver_at=None, run_id="r", digest="d")  # type: ignore[arg-type]
    given = RunReport("acme", event_id, "order.paid", accepted_at, finished_at or accepted_at, progress, made)
    return given._replace(finished_at=finished_at, **changes)


async def ids(engine: AsyncEngine, table: Table, column: str) -> list[str]:
    async with engine.connect() as connection:
        return sorted(set(await connection.scalars(select(table.c[column]))))


async def kept(engine: AsyncEngine) -> list[str]:
    """Return the events that are left; their deliveries are as well."""
    of_events = await ids(engine, events, "id")
    assert await ids(engine, deliveries, "event_id") == of_events
    return of_events


async def partitions(engine: AsyncEngine, table: str) -> list[str]:
    async with engine.connect() as connection:
        query = text("SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = :t ::regclass")
        return sorted(await connection.scalars(query, {"t": table}))


async def write(engine: AsyncEngine, reports: Iterable[RunReport]) -> EventIndex:
    index = EventIndex(Database(engine))
    await index.write(list(reports))
    return index


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAUSE", 0)


async def test_an_event_goes_when_it_has_been_finished_for_the_retention(engine: AsyncEngine) -> None:
    hour = timedelta(hours=1)
    index = await write(
        engine,
        [
            report("long-ago", 20 * DAY, 20 * DAY),
            report("finished-late", 20 * DAY, 3 * DAY),
            report("just-over", 12 * DAY, RETENTION + hour),
            report("just-under", 12 * DAY, RETENTION - hour),
            report("open", 300 * DAY),
            report("new", hour, hour),
        ],
    )
    await index.expire(NOW, RETENTION)
    assert await kept(engine) == ["finished-late", "just-under", "new", "open"]
    await index.expire(NOW + 8 * DAY, RETENTION)
    assert await kept(engine) == ["new", "open"]
    await index.expire(NOW + 800 * DAY, RETENTION)
    assert await kept(engine) == ["open"]


async def test_very_many_rows_go_in_small_transactions(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setup: pages of ten events, transactions of seven rows; forty events, one of them with thirty deliveries.
    Open ones are between them. Proves: pages continue where the last one ended, whatever is deleted.
    """
    monkeypatch.setattr(retention, "EVENTS_PER_QUERY", 10)
    for module in (retention, deletion, row_deletion):
        monkeypatch.setattr(module, "ROWS_PER_TRANSACTION", 7)
    finished = [
        report(f"f-{n}", 20 * DAY - timedelta(minutes=n), 15 * DAY, targets=30 if n == 3 else 2) for n in range(40)
    ]
    is_open = [report(f"o-{n}", 20 * DAY - timedelta(minutes=n)) for n in range(0, 40, 3)]
    index = await write(engine, [*finished, *is_open])
    await index.expire(NOW, RETENTION)
    assert await kept(engine) == sorted(given.event_id for given in is_open)


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


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_partitions(engine: AsyncEngine) -> None:
    """A partition is dropped when all its events are to go; from another one, rows are deleted."""
    index = await write(
        engine,
        [
            *(report(f"a-{n}", 20 * DAY, 20 * DAY) for n in range(5)),
            *(report(f"b-{n}", 15 * DAY, 15 * DAY) for n in range(5)),
            report("b-open", 15 * DAY),
            report("today", timedelta(0), timedelta(0)),
        ],
    )
    await index.expire(NOW, RETENTION)
    for table in ("events", "deliveries"):
        assert await partitions(engine, table) == [f"{table}_20260531", f"{table}_20260615"]
    assert await kept(engine) == ["b-open", "today"]
    await index.write([report("a-late", 20 * DAY, 20 * DAY)])
    await index.expire(NOW, RETENTION)
    assert await kept(engine) == ["b-open", "today"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_partition_stays_if_an_event_of_it_is_redelivered_meanwhile(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = await write(engine, [report("a", 20 * DAY, 20 * DAY), report("b", 20 * DAY, 20 * DAY)])
    has_events_to_keep = retention._has_events_to_keep

    async def read_before_redelivery(database: Database, day: datetime, before: datetime) -> bool:
        answer = await has_events_to_keep(database, day, before)
        await index.write([report("a", 20 * DAY, None, as_of=NOW)])
        return answer

    monkeypatch.setattr(retention, "_has_events_to_keep", read_before_redelivery)
    await index.expire(NOW, RETENTION)
    assert "a" in await kept(engine)
    await index.expire(NOW, RETENTION)
    assert await kept(engine) == ["a"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_partition_that_is_read_stays_until_the_next_time(engine: AsyncEngine) -> None:
    """Otherwise all readers would wait for this one, such as a backup that takes hours."""
    index = await write(engine, [report("a", 20 * DAY, 20 * DAY)])
    async with engine.connect() as reader:
        await reader.execute(select(func.count()).select_from(events))
        async with asyncio.timeout(WAIT_TIMEOUT):
            await index.expire(NOW, RETENTION)
        assert await kept(engine) == ["a"]
    await index.expire(NOW, RETENTION)
    assert await kept(engine) == []


async def test_an_erased_event_does_not_come_back(engine: AsyncEngine) -> None:
    """Setup: an event with many deliveries, erased. Timeline: a late report of its run, and one of a part arrive.
    Proves: they are dropped, counters stay, another event with the same id is written.
    """
    given = report("a", DAY, DAY, targets=1200)
    index = await write(engine, [given, report("b", DAY, DAY)])

    async def counted() -> Counter[str]:
        async with engine.connect() as connection:
            return Counter({"events": await connection.scalar(select(func.sum(rollups.c.events)))})

    before = await counted()
    key = EventKey(NOW - DAY, "acme", "a")
    await index.erase(key)
    assert await kept(engine) == ["b"]
    await index.erase(key)
    await index.write([given, given._replace(progress=None), report("b", DAY, DAY)])
    assert await kept(engine) == ["b"]
    assert await counted() == before
    await index.write([report("a", timedelta(hours=1))])
    assert await kept(engine) == ["a", "b"]


async def test_an_erasure_that_failed_is_undone(engine: AsyncEngine) -> None:
    given = report("a", DAY, DAY)
    index = await write(engine, [given])
    await index.erase(EventKey(NOW - DAY, "acme", "a"))
    await index.restore(EventKey(NOW - DAY, "acme", "a"))
    await index.write([given])
    assert await kept(engine) == ["a"]


async def test_keys_of_erased_events_go_after_a_day(engine: AsyncEngine) -> None:
    index = EventIndex(Database(engine))
    await index.erase(EventKey(NOW - DAY, "acme", "a"))
    now = datetime.now(UTC)
    await index.expire(now + timedelta(hours=23), RETENTION)
    assert await ids(engine, erased_events, "event_id") == ["a"]
    await index.expire(now + timedelta(hours=25), RETENTION)
    assert await ids(engine, erased_events, "event_id") == []


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
    await second.expire()
    assert await kept(engine) == ["b"]
    await first.expire()
    assert await kept(engine) == []


async def test_entries_of_the_audit_log_go_if_they_have_a_retention(engine: AsyncEngine, store: Store) -> None:
    old = AuditEntry(key_id="k", key_name="x", action="a", object_id="o", tenant=None, at=datetime.now(UTC) - 9 * DAY)
    await store.audit.keep(old)
    index = EventIndex(Database(engine))
    tasks = [RetentionTask(index, RETENTION, right_time, store.audit, kept) for kept in (None, 10 * DAY, 8 * DAY)]
    left = []
    for task in tasks:
        task._holder = "one process"
        await task.expire()
        page, _ = await store.audit.page(tenant=None, since=None, until=None, limit=9, cursor=None)
        left.append(len(page))
    assert left == [1, 1, 0]


async def test_a_worker_removes_it_in_the_background(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_task, "FIRST_DELAY", 0)
    age = NOW - (datetime.now(UTC) - 2 * RETENTION)
    index = await write(engine, [report("a", age, age)])
    async with RetentionTask(index, RETENTION, right_time).running(), asyncio.timeout(WAIT_TIMEOUT):
        while await ids(engine, events, "id"):
            await asyncio.sleep(0.01)


async def test_a_claim_goes_after_its_event(engine: AsyncEngine, store: Store) -> None:
    """A day later; with the next call, if the event took longer than a day. That of an open event stays, and so does a
    recent one whose event is not in the index yet.
    """
    index = await write(engine, [report("open", 300 * DAY), report("over", 20 * DAY, 12 * DAY)])
    accepted = {"open": 300 * DAY, "over": 20 * DAY, "gone": 12 * DAY, "recent": RETENTION + DAY / 2, "new": DAY}
    every = [Claim("acme", name, "d", NOW - age, "shared-1") for name, age in accepted.items()]
    many = [Claim("acme", f"e{n}", "d", NOW - 50 * DAY, None) for n in range(1200)]
    await store.claims.claim([*every, *many])
    await index.expire(NOW, RETENTION)
    assert await kept(engine) == ["open"]
    assert await ids(engine, claims, "event_id") == ["new", "open", "over", "recent"]
    await index.expire(NOW + timedelta(hours=1), RETENTION)
    assert await ids(engine, claims, "event_id") == ["new", "open", "recent"]
    await index.expire(NOW + 800 * DAY, RETENTION)
    assert await ids(engine, claims, "event_id") == ["open"]


async def test_claims_stay_after_a_shorter_retention_until_temporal_has_no_older_run(
    engine: AsyncEngine, store: Store
) -> None:
    """Temporal keeps what ended before for the retention of that time."""
    clock = datetime.now(UTC)
    age = NOW - (clock - 15 * DAY)
    index = await write(engine, [report("a", age, age)])
    await store.claims.claim([Claim("acme", "a", "d", clock - 15 * DAY, "shared-1")])

    async def expire(after: timedelta, retention: timedelta) -> list[str]:
        async def server_time() -> datetime | None:
            return clock + after

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(retention_task, "utc_now", lambda: clock + after)
            task = RetentionTask(index, retention, server_time)
            task._holder = "one process"
            await task.expire()
        return await ids(engine, claims, "event_id")

    assert await expire(timedelta(), 30 * DAY) == ["a"]
    for days in (1, 9, 21, 29):
        assert await expire(days * DAY, 10 * DAY) == ["a"]
    assert await kept(engine) == []
    assert await expire(30 * DAY, 10 * DAY) == []


def test_the_longest_retention_counts_while_temporal_keeps_what_ended_under_it() -> None:
    before = SweepPosition(NOW, NOW + 30 * DAY)
    cases = [
        (SweepPosition(None, None), 0, 10, SweepPosition(NOW, NOW + 10 * DAY)),
        (before, 1, 30, SweepPosition(NOW + DAY, NOW + 31 * DAY)),
        (before, 1, 40, SweepPosition(NOW + DAY, NOW + 41 * DAY)),
        (before, 1, 10, before),
        (before, 29, 10, before),
        (before, 30, 10, SweepPosition(NOW + 30 * DAY, NOW + 40 * DAY)),
    ]
    for position, day, chosen, expected in cases:
        assert longest_in_force(position, NOW + day * DAY, chosen * DAY) == expected
