"""Claims: the first claim of an id wins, and later ones return it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.run_report import BEGINNING, EventProgress, RunReport
from hookkeeper.registry.claims import Claim, Claims
from hookkeeper.registry.database import Database, RegistryUnavailable, open_engine
from hookkeeper.registry.direct_reads import DirectReads
from hookkeeper.registry.direct_writes import DirectWrites
from hookkeeper.registry.index.merge import EventKey
from hookkeeper.registry.store import Store

NOW = datetime(2026, 6, 15, 12, 0, 0, 123456, tzinfo=UTC)
LOSE_OTHER_CONNECTIONS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def claim(event_id: str, shared_run: str | None = "shared-1", tenant: str = "acme", digest: str = "d") -> Claim:
    return Claim(tenant, event_id, digest, NOW, shared_run)


def report(event_id: str, shared_run: str | None) -> RunReport:
    progress = EventProgress("delivering", False, None, "run", "d", shared_run)
    return RunReport("acme", event_id, "order.paid", NOW, BEGINNING, progress, ())


class CountingWrites(DirectWrites):
    """Counts statements. Each has to wait for `go_on`."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine, Database(engine))
        self.statements = 0
        self.go_on = asyncio.Event()

    async def fetch(self, statement: str, values: tuple[Any, ...]) -> Sequence[Any]:
        self.statements += 1
        await self.go_on.wait()
        return await super().fetch(statement, values)


async def test_the_first_claim_counts(store: Store) -> None:
    first = [claim("a"), claim("b", None), claim("a", tenant="other")]
    assert await store.claims.claim(first) == {}
    again = [claim("a", "shared-2", digest="x"), claim("b", "shared-2"), claim("c", "shared-2")]
    assert await store.claims.claim(again) == {("acme", "a"): first[0], ("acme", "b"): first[1]}
    assert await store.claims.find("acme", "a") == first[0]
    assert await store.claims.find("acme", "c") == again[2]
    assert await store.claims.find("other", "b") is None
    assert await store.claims.find("other", "a") == first[2]


async def test_a_claim_that_is_repeated_is_no_other(store: Store) -> None:
    """A statement may have taken effect although it failed."""
    await store.claims.claim([claim("a"), claim("b", None)])
    assert await store.claims.claim([claim("a"), claim("c")]) == {}
    assert await store.claims.claim([claim("b", None)]) == {("acme", "b"): claim("b", None)}


async def test_many_claims_of_the_same_ids_at_once(database_url: str, store: Store) -> None:
    """Two processes claim the same ids in different orders, many times: each id has one first claim for all."""
    other = Store.connect(database_url)
    names = [f"e{n}" for n in range(20)]

    async def claim_all(n: int) -> dict[str, str]:
        claims = [claim(name, f"shared-{n}") for name in names]
        earlier = await (store, other)[n % 2].claims.claim(claims[:: -1 if n % 3 else 1])
        return {name: (earlier[key].shared_run or "") if (key := ("acme", name)) in earlier else "" for name in names}

    answers = await asyncio.gather(*(claim_all(n) for n in range(12)))
    for name in names:
        found = await store.claims.find("acme", name)
        assert found is not None
        told = [answer[name] for answer in answers]
        assert sorted(told) == ["", *[found.shared_run] * 11], "all others are told of the first"
        assert told[int(str(found.shared_run).removeprefix("shared-"))] == ""
    await other.close()


async def test_claims_that_wait_share_a_statement(engine: AsyncEngine) -> None:
    writes, reads = CountingWrites(engine), DirectReads(engine, Database(engine))
    claims = Claims(Database(engine), reads, writes)
    asking = [asyncio.create_task(claims.claim([claim(f"e{n}", f"shared-{n}")])) for n in range(100)]
    same = [asyncio.create_task(claims.claim([claim("same", f"shared-{n}")])) for n in range(3)]
    await asyncio.sleep(0)
    asking[50].cancel()
    writes.go_on.set()
    answers = await asyncio.gather(*asking[:50], *asking[51:])
    assert answers == [{}] * 99
    assert await asyncio.gather(*same) == [{}, *[{("acme", "same"): claim("same", "shared-0")}] * 2]
    assert writes.statements <= 2
    assert await claims.find("acme", "e50") is None, "its request had ended before"
    for closing in (claims, writes, reads):
        await closing.close()


async def test_an_event_from_before_claims_is_known(store: Store) -> None:
    """Its client has given the id: a generated one cannot have been used before."""
    await store.index.write([report("own", None), report("shared", "shared-1")])
    keys = {("acme", "own"), ("acme", "shared"), ("acme", "new")}
    answers = await store.claims.claim([claim(event_id, "shared-2") for _, event_id in sorted(keys)], keys)
    assert answers == {("acme", "own"): claim("own", None), ("acme", "shared"): claim("shared", "shared-1")}
    assert await store.claims.find("acme", "own") is None
    assert await store.claims.claim([claim("own", "shared-3")]) == {}
    assert await store.claims.claim([claim("own", "shared-4")], keys) == {("acme", "own"): claim("own", "shared-3")}


async def test_claims_are_moved_from_the_run_that_was_looked_at(store: Store) -> None:
    await store.claims.claim([claim("a"), claim("b"), claim("c", "shared-2")])
    await store.claims.move([("acme", "a"), ("acme", "c"), ("acme", "d")], "shared-1", None)
    assert [await store.claims.find("acme", name) for name in "abcd"] == [
        claim("a", None),
        claim("b"),
        claim("c", "shared-2"),
        None,
    ]
    await store.claims.move([("acme", "b")], "shared-1", "shared-1.1")
    assert await store.claims.find("acme", "b") == claim("b", "shared-1.1")


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_lost_connection_is_not_noticed(store: Store, postgres_url: str) -> None:
    other = open_engine(postgres_url)
    assert await store.claims.claim([claim("a")]) == {}
    async with other.connect() as connection:
        await connection.execute(LOSE_OTHER_CONNECTIONS)
    assert await store.claims.claim([claim("a"), claim("b")]) == {}
    await other.dispose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_each_request_learns_of_an_outage(store: Store, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE claims RENAME TO gone"))
    asking = [store.claims.claim([claim(name)]) for name in "abc"]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(answer, Exception) for answer in answers)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE gone RENAME TO claims"))
    assert await store.claims.claim([claim("a")]) == {}


async def test_a_registry_that_is_away(tmp_path: Any) -> None:
    store = Store.connect(f"sqlite+aiosqlite:///{tmp_path}/no/such/directory.db")
    with pytest.raises(RegistryUnavailable):
        await store.claims.claim([claim("a")])
    await store.close()


async def test_an_erased_event_is_told_from_a_later_one_with_its_id(store: Store) -> None:
    key, later = EventKey(NOW, "t", "evt_1"), NOW + timedelta(seconds=1)
    await store.index.erase(key)
    assert await store.claims.is_erased("t", "evt_1", NOW)
    assert not await store.claims.is_erased("t", "evt_1", later)
    assert not await store.claims.is_erased("u", "evt_1", NOW)
    await store.index.restore(key)
    assert not await store.claims.is_erased("t", "evt_1", NOW)
