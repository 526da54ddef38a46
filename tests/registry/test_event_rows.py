"""Rows of events: the first acceptance of an id wins, and later ones return it."""

import asyncio
import gc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Attempt, Delivery, EventInput
from hookkeeper.messages.rows import EventRow
from hookkeeper.messages.run_report import BEGINNING, RunReport, first_report
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.registry.events.statements import LOCK, select_events, upsert_events
from hookkeeper.registry.storage.database import Database, open_engine
from hookkeeper.registry.storage.direct_reads import DirectReads
from hookkeeper.registry.storage.transactions import Statement, Steps, Transactions
from hookkeeper.registry.store import Store
from hookkeeper.temporal.events.run_state import initial_state
from reports import changed, reported

NOW = datetime(2026, 6, 15, 12, 0, 0, 123456, tzinfo=UTC)
LOSE_OTHER_CONNECTIONS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def new(event_id: str, shared_run: str | None = "shared-1", tenant: str = "acme", **more: Any) -> RunReport:
    more = {"run_id": "", "size": 17} | more
    delivery = Delivery(id="wh_1", webhook_id="wh_1")
    return reported(tenant, event_id, NOW, BEGINNING, [delivery], shared_run=shared_run, **more)


def row(report: RunReport) -> EventRow:
    return report.event


class CountingTransactions(Transactions):
    """Counts transactions. Each has to wait for `go_on`."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine, Database(engine))
        self.count = 0
        self.go_on = asyncio.Event()

    async def run(self, steps: Callable[[], Steps[Any]]) -> Any:
        self.count += 1
        await self.go_on.wait()
        return await super().run(steps)


async def test_the_first_acceptance_counts(store: Store) -> None:
    first = [new("a"), new("b", None), new("a", tenant="other")]
    assert await store.rows.accept(first) == {}
    again = [new("a", "shared-2", digest="x"), new("b", "shared-2"), new("c", "shared-2")]
    assert await store.rows.accept(again) == {("acme", "a"): row(first[0]), ("acme", "b"): row(first[1])}
    assert await store.rows.find("acme", "a") == row(first[0])
    assert await store.rows.find("acme", "c") == row(again[2])
    assert await store.rows.find("other", "b") is None
    assert await store.rows.find("other", "a") == row(first[2])


async def test_an_acceptance_that_is_repeated_is_no_other(store: Store) -> None:
    """A transaction may have taken effect although it failed."""
    await store.rows.accept([new("a"), new("b", None)])
    assert await store.rows.accept([new("a"), new("c")]) == {}
    assert await store.rows.accept([new("b", None)]) == {}
    assert await store.rows.accept([new("b", None, digest="x")]) == {("acme", "b"): row(new("b", None))}


async def test_many_acceptances_of_the_same_ids_at_once(database_url: str, store: Store) -> None:
    """Two processes accept the same ids in different orders, many times: each id has one first row for all."""
    other = Store.connect(database_url)
    names = [f"e{n}" for n in range(20)]

    async def accept_all(n: int) -> dict[str, str]:
        every = [new(name, f"shared-{n}") for name in names]
        earlier = await (store, other)[n % 2].rows.accept(every[:: -1 if n % 3 else 1])
        return {name: (earlier[key].shared_run or "") if (key := ("acme", name)) in earlier else "" for name in names}

    answers = await asyncio.gather(*(accept_all(n) for n in range(12)))
    for name in names:
        found = await store.rows.find("acme", name)
        assert found is not None
        told = [answer[name] for answer in answers]
        assert sorted(told) == ["", *[found.shared_run] * 11], "all others are told of the first"
        assert told[int(str(found.shared_run).removeprefix("shared-"))] == ""
    await other.close()


async def test_acceptances_that_wait_share_a_transaction(engine: AsyncEngine) -> None:
    transactions, reads = CountingTransactions(engine), DirectReads(engine, Database(engine))
    rows = EventRows(Database(engine), reads, transactions)
    asking = [asyncio.create_task(rows.accept([new(f"e{n}", f"shared-{n}")])) for n in range(100)]
    same = [asyncio.create_task(rows.accept([new("same", f"shared-{n}")])) for n in range(3)]
    await asyncio.sleep(0)
    asking[50].cancel()
    transactions.go_on.set()
    answers = await asyncio.gather(*asking[:50], *asking[51:])
    assert answers == [{}] * 99
    assert await asyncio.gather(*same) == [{}, *[{("acme", "same"): row(new("same", "shared-0"))}] * 2]
    assert transactions.count <= 2
    assert await rows.find("acme", "e50") is None, "its request had ended before"
    for closing in (rows, transactions, reads):
        await closing.close()


async def test_an_event_is_without_a_run_until_one_is_noted_or_has_recorded(store: Store) -> None:
    await store.rows.accept([new(name, input="{}") for name in "abc"])
    await store.rows.write([new("b", as_of=NOW, run_id="run")])
    inputs, later = store.rows.inputs, NOW + timedelta(seconds=1)
    first, second = await inputs.overdue(later, 10)
    assert [first.id, second.id] == ["a", "c"]
    assert await inputs.overdue(NOW, 10) == []
    assert sum((await inputs.count_overdue()).values()) == 2
    await inputs.note_run([first], "found")
    assert [found.key for found in await inputs.overdue(later, 10)] == [second.key]
    assert [found.run_id for found in await store.rows.with_ids(["a"])] == ["found"]


async def test_no_more_data_is_read_at_once_than_fits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are read first, at least one; those that share a run are read together."""
    await store.rows.accept([new("a", None, input="x" * 9), new("b", "shared-1", input="y" * 4)])
    await store.rows.accept([new("c", "shared-1", input="z" * 4), new("d", None, input="{}")])
    later = NOW + timedelta(seconds=1)
    for limit, names in ((5, ["a"]), (15, ["b", "c", "a"]), (99, ["b", "c", "a", "d"])):
        monkeypatch.setattr("hookkeeper.registry.events.event_inputs.MAX_BYTES", limit)
        assert [found.id for found in await store.rows.inputs.overdue(later, 10)] == names


async def test_large_events_have_their_own_transactions(database_url: str, store: Store) -> None:
    """Each 2 KB counts as a row, of which a transaction has five hundred."""
    engine = open_engine(database_url)
    database, transactions = Database(engine), CountingTransactions(engine)
    reads = DirectReads(engine, database)
    rows = EventRows(database, reads, transactions)
    large = "x" * 400 * 2048
    asking = [asyncio.create_task(rows.accept([new(f"e{n}", input=large)])) for n in range(3)]
    await asyncio.sleep(0)
    transactions.go_on.set()
    assert await asyncio.gather(*asking) == [{}] * 3
    assert transactions.count == 3
    for closing in (rows, transactions, reads):
        await closing.close()
    await engine.dispose()


async def test_events_are_moved_from_the_run_that_was_looked_at(store: Store) -> None:
    await store.rows.accept([new("a"), new("b"), new("c", "shared-2")])
    keys = [("acme", "a"), ("acme", "c"), ("acme", "d")]
    assert await store.rows.move(keys, "shared-1", None) == {("acme", "a")}
    assert [await store.rows.find("acme", name) for name in "abcd"] == [
        row(new("a", None)),
        row(new("b")),
        row(new("c", "shared-2")),
        None,
    ]
    await store.rows.move([("acme", "b")], "shared-1", "shared-1.1")
    assert await store.rows.find("acme", "b") == row(new("b", "shared-1.1"))


async def test_moves_at_the_same_time_lose_no_connection(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    """After an outage, many events come again at the same moment."""
    store = Store(engine)
    await store.rows.accept([new(name) for name in "abcde"])
    moved = await asyncio.gather(*(store.rows.move([("acme", name)], "shared-1", None) for name in "abcde"))
    gc.collect()
    assert moved == [{("acme", name)} for name in "abcde"]
    assert "garbage collector" not in caplog.text
    await store.close()


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_an_event_is_not_moved_while_its_row_is_being_written(store: Store, engine: AsyncEngine) -> None:
    """The writer has read the row, and writes all of it: also the run that it has read."""
    await store.rows.accept([new("a")])
    moving: list[asyncio.Task[set[tuple[str, str]]]] = []

    def write_slowly() -> Steps[None]:
        yield LOCK
        found = yield from select_events([("acme", "a")])
        moving.append(asyncio.create_task(store.rows.move([("acme", "a")], "shared-1", None)))
        yield Statement(select(func.pg_sleep(0.3)))
        yield from upsert_events(found)

    writer = Transactions(engine, Database(engine))
    await writer.run(write_slowly)
    assert await moving[0] == {("acme", "a")}
    assert await store.rows.find("acme", "a") == row(new("a", None))
    await writer.close()


async def test_a_late_record_of_a_shared_run_that_was_replaced_changes_nothing(store: Store) -> None:
    """The row of an event goes on naming the run that has the event now."""
    await store.rows.accept([new("a")])
    for names, run in [("shared-1.2", "shared-1.1"), ("shared-1.2", "shared-1"), ("shared-1.10", "shared-1.9")]:
        shared_run = (await store.rows.find("acme", "a") or row(new("a"))).shared_run
        await store.rows.move([("acme", "a")], str(shared_run), names)
        await store.rows.write([new("a", run, as_of=NOW)])
        assert await store.rows.find("acme", "a") == row(new("a", names)), "also its time is that of the acceptance"
    await store.rows.write([new("a", None, as_of=NOW)])
    assert await store.rows.find("acme", "a") == row(new("a", None, as_of=NOW)), "it has its own run now"


async def test_events_are_found_whose_rows_name_another_run(store: Store) -> None:
    await store.rows.accept([new("a"), new("b", "shared-2"), new("c", None), new("a", "shared-2", tenant="other")])
    keys = [("acme", name) for name in "abcd"]
    assert await store.rows.in_other_runs(keys, "shared-1") == {
        ("acme", "b"): row(new("b", "shared-2")),
        ("acme", "c"): row(new("c", None)),
    }


async def test_a_removed_event_is_unknown_and_its_id_free(store: Store) -> None:
    await store.rows.accept([new("a"), new("b")])
    await store.rows.remove("acme", "a")
    assert await store.rows.find("acme", "a") is None
    assert await store.rows.find("acme", "b") is not None
    assert await store.rows.accept([new("a", "shared-2")]) == {}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_lost_connection_is_not_noticed(store: Store, postgres_url: str) -> None:
    other = open_engine(postgres_url)
    assert await store.rows.accept([new("a")]) == {}
    async with other.connect() as connection:
        await connection.execute(LOSE_OTHER_CONNECTIONS)
    assert await store.rows.accept([new("a"), new("b")]) == {}
    await other.dispose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_each_request_learns_of_an_outage(store: Store, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE events RENAME TO gone"))
    asking = [store.rows.accept([new(name)]) for name in "abc"]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(answer, Exception) for answer in answers)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE gone RENAME TO events"))
    assert await store.rows.accept([new("a")]) == {}


async def test_a_report_that_cannot_be_written_fails_alone(engine: AsyncEngine) -> None:
    """Reports of many runs share a transaction."""
    transactions, reads = CountingTransactions(engine), DirectReads(engine, Database(engine))
    rows = EventRows(Database(engine), reads, transactions)
    impossible = new("b", type=None)
    writing = [asyncio.create_task(rows.write([report])) for report in (new("a"), impossible, new("c"))]
    await asyncio.sleep(0)
    transactions.go_on.set()
    results = await asyncio.gather(*writing, return_exceptions=True)
    assert [result == [] for result in results] == [True, False, True]
    assert [await rows.find("acme", name) is not None for name in "abc"] == [True, False, True]
    for closing in (rows, transactions, reads):
        await closing.close()


async def test_the_deliveries_of_a_large_event_are_read_within_a_limit(store: Store) -> None:
    """A small one has all attempts with their responses; a large one has the latest, without most of them."""
    attempts = tuple(
        Attempt(number=n, started_at=NOW, duration_ms=1, response_excerpt="x" * 1000) for n in range(1, 11)
    )
    for event_id, count, kept in (("few", 3, 10), ("many", 200, 2)):
        given = tuple(Delivery(id=f"wh_{n}", webhook_id=f"wh_{n}") for n in range(count))
        event = EventInput(id=event_id, type="t", tenant="a", timestamp=NOW, accepted_at=NOW, deliveries=given)
        text = event.model_dump_json(exclude_defaults=True)
        accepted = first_report(event, initial_state(event, scheduled=False), text=text)
        await store.rows.accept([accepted])
        made = [delivery.model_copy(update={"status": "succeeded", "attempts": attempts}) for delivery in given]
        await store.rows.write([changed(accepted, as_of=NOW, deliveries=tuple(made))])
        found = await store.rows.read("a", event_id)
        assert found
        assert {len(delivery.attempts) for delivery in found.state.deliveries} == {kept}
        assert {delivery.attempts_made for delivery in found.state.deliveries} == {10}
        assert len(found.state.model_dump_json()) < 512 * 1024
