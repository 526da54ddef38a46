"""Deliveries of an ordered webhook take places in lines, one behind the other, and leave them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.rows import DeliveryRow
from hookkeeper.messages.run_report import BEGINNING, RunReport
from hookkeeper.registry.events.lines import MAX_AHEAD, Place
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from reports import changed, reported

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
FAILED = Attempt(number=1, started_at=NOW, duration_ms=5, status_code=500, error="http_500")


@pytest.fixture
async def store(engine: AsyncEngine) -> AsyncIterator[Store]:
    store = Store(engine)
    await store.webhooks.add(
        Webhook(id="wh_1", tenant="acme", url="https://a", events=["*"], secret="s", ordered="block")
    )
    yield store
    await store.close()


def report(event_id: str, *, seconds: float | None = None, line: str = "k", at: datetime = NOW, **of: Any) -> RunReport:
    """Return a report of an event of this many seconds after its acceptance; None: it is being accepted."""
    final = of.get("status", "pending") in ("succeeded", "failed", "cancelled")
    given = {"ordered": "block", "enqueued": True, **of}
    delivery = Delivery(id="wh_1", webhook_id="wh_1", line=line, **given)
    as_of = BEGINNING if seconds is None else at + timedelta(seconds=seconds)
    of_run = {"run_id": "run" if seconds else "", "finished_at": as_of if final else None}
    return reported("acme", event_id, at, as_of, (delivery,), status=of.get("status", "delivering"), **of_run)


def ids(found: Iterable[DeliveryRow | None]) -> list[str | None]:
    return [row and row.event_id for row in found]


async def ahead_of(store: Store, *event_ids: str) -> list[int]:
    places = [await store.rows.lines.place("acme", event_id, "wh_1") for event_id in event_ids]
    return [place.ahead for place in places if place is not None]


async def accept(store: Store, *reports: RunReport) -> None:
    for each in reports:
        await store.rows.accept([each])


async def test_an_event_is_behind_those_that_were_accepted_before_whatever_their_clocks(store: Store) -> None:
    hour = timedelta(hours=1)
    await accept(store, report("a"), report("b", at=NOW - hour), report("c", at=NOW + hour), report("d", at=NOW))
    assert await ahead_of(store, "a", "b", "c", "d") == [0, 1, 2, 3]


async def test_lines_are_independent(store: Store) -> None:
    await accept(store, report("a"), report("b", line="other"), report("c"), report("d", line="other"))
    assert await ahead_of(store, "a", "b", "c", "d") == [0, 0, 1, 1]
    assert ids(await store.rows.write([report("a", seconds=1, status="succeeded")])) == ["c"]


async def test_events_of_one_transaction_have_places_of_their_own(store: Store) -> None:
    await asyncio.gather(*(store.rows.accept([report(f"e{n}")]) for n in range(20)))
    assert sorted(await ahead_of(store, *(f"e{n}" for n in range(20)))) == list(range(20))


async def test_the_delivery_behind_another_one_of_its_line_is_found(store: Store) -> None:
    await accept(store, report("a"), report("b", line="other"), report("c"), report("d"))
    heads = [await store.rows.lines.head("wh_1", line) for line in ("k", "other")]
    found = [await store.rows.lines.behind(head) for head in heads if head]
    assert ids(found) == ["c", None]
    found += [await store.rows.lines.behind(row) for row in found if row]
    found += [await store.rows.lines.behind(row) for row in found[2:] if row]
    assert ids(found) == ["c", None, "d", None]


async def test_the_delivery_behind_one_that_leaves_is_returned_also_if_the_record_is_repeated(store: Store) -> None:
    await accept(store, report("a"), report("b"), report("c"))
    assert await store.rows.write([report("a", seconds=1, attempts=(FAILED,), steps_taken=1)]) == []
    done = report("a", seconds=2, status="succeeded")
    assert ids(await store.rows.write([done])) == ["b"]
    assert ids(await store.rows.write([changed(done, as_of=NOW + timedelta(seconds=3))])) == ["b"]
    assert await store.rows.write([report("a", seconds=4, status="succeeded", line="")]) == []
    assert ids(await store.rows.write([report("b", seconds=5, status="cancelled")])) == ["c"]
    assert await store.rows.write([report("c", seconds=6, status="succeeded")]) == []


async def test_two_that_leave_together_let_the_next_one_go(store: Store) -> None:
    await accept(store, report("a"), report("b"), report("c"))
    done = [report(event_id, seconds=1, status="succeeded") for event_id in "ab"]
    assert set(ids(await store.rows.write(done))) == {"c"}


async def test_one_that_is_skipped_leaves_and_takes_no_place_again(store: Store) -> None:
    await accept(store, report("a", ordered="skip"), report("b", ordered="skip"))
    failed = report("a", seconds=1, attempts=(FAILED,), steps_taken=1, ordered="skip")
    assert ids(await store.rows.write([failed])) == ["b"]
    await store.rows.write([report("a", seconds=2, attempts=(FAILED,), steps_taken=1, ordered="block")])
    assert await ahead_of(store, "b") == [0]


async def test_a_scheduled_event_takes_its_place_when_it_is_due(store: Store) -> None:
    await accept(store, report("a", enqueued=False), report("b"))
    assert await store.rows.lines.place("acme", "a", "wh_1") == Place(None, "block", 0)
    await store.rows.write([report("a", seconds=60)])
    assert await ahead_of(store, "a", "b") == [1, 0]


async def test_an_event_whose_row_was_lost_returns_to_its_place(store: Store) -> None:
    later = NOW + timedelta(minutes=1)
    await accept(store, report("b", at=later))
    assert await store.rows.lines.place("acme", "a", "wh_1") is None
    await store.rows.write([report("a", seconds=120)])
    assert await ahead_of(store, "a", "b") == [0, 1]


async def test_after_a_change_of_the_policy_nothing_waits_for_what_has_failed(store: Store) -> None:
    await accept(store, report("a"), report("b"), report("c"))
    await store.rows.write([report("a", seconds=1, attempts=(FAILED,), steps_taken=1)])
    assert ids(await store.rows.lines.foremost("wh_1")) == ["a", "b"]
    await store.rows.lines.pass_failed("wh_1")
    assert await ahead_of(store, "b", "c") == [0, 1]
    await store.rows.write([report("a", seconds=2, attempts=(FAILED,), steps_taken=1)])
    assert ids(await store.rows.lines.foremost("wh_1")) == ["b", "c"]


async def test_others_pass_one_that_has_to_leave(store: Store) -> None:
    await accept(store, report("a"), report("b"), report("c"))
    head = await store.rows.lines.head("wh_1", "k")
    assert head is not None
    for _ in range(2):
        await store.rows.lines.leave(head)
        assert await ahead_of(store, "b", "c") == [0, 1]


async def test_the_oldest_of_all_lines_is_the_head(store: Store) -> None:
    assert await store.rows.lines.head("wh_1") is None
    await accept(store, report("a"), report("b", line="other"), report("c"))
    head = await store.rows.lines.head("wh_1")
    assert head is not None
    assert (head.event_id, await store.rows.lines.count("wh_1")) == ("a", 3)
    other = await store.rows.lines.head("wh_1", "other")
    assert other is not None
    assert other.event_id == "b"


async def test_a_bounded_number_is_counted(store: Store) -> None:
    await store.rows.accept([report(f"e{n}") for n in range(MAX_AHEAD + 5)])
    assert await ahead_of(store, "e0", "e9", f"e{MAX_AHEAD + 4}") == [0, 9, MAX_AHEAD]


async def test_a_line_is_read_by_its_index(engine: AsyncEngine, store: Store) -> None:
    await store.rows.accept([report(f"e{n}", line=f"k{n % 50}") for n in range(200)])
    read = store.rows.lines._place
    values = read.ordered({"tenant": "acme", "event": "e1", "delivery": "wh_1"})
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    async with engine.connect() as connection:
        await connection.execute(text("ANALYZE"))
        if engine.dialect.name == "postgresql":
            await connection.execute(text("SET LOCAL enable_seqscan = off"))  # the table is small
        plan = "\n".join(str(row) for row in await connection.exec_driver_sql(f"{explain} {read.text}", values))
    assert "ix_deliveries_line" in plan, plan
