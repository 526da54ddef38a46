"""Events are found by keys in their data, and keys go with their events."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.content.search_terms import Key
from hookkeeper.crypto.keyring import Keyring, new_key
from hookkeeper.messages.event import Delivery
from hookkeeper.messages.run_report import BEGINNING, RunReport
from hookkeeper.registry.events import search as searching
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.events.tables import event_keys, events
from hookkeeper.registry.storage.database import open_engine
from hookkeeper.registry.store import Store
from hookkeeper.registry.upkeep.re_encryption import re_encrypt
from hookkeeper.registry.upkeep.schema import migrate
from reports import changed, reported

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
ORDER = Key("order_id", "4711")
CUSTOMER = Key("customer.id", "acme:7")
OF_ORDER = Search(tenant="acme", keys=(ORDER,))


def acceptance(
    event_id: str, *keys: Key, tenant: str = "acme", second: int = 0, type_: str = "order.paid"
) -> RunReport:
    accepted_at = NOW + timedelta(seconds=second)
    deliveries = (Delivery(id="wh_1", webhook_id="wh_1", status="succeeded"),)
    ended = {"status": "succeeded", "finished_at": accepted_at}
    return reported(tenant, event_id, accepted_at, BEGINNING, deliveries, type=type_, keys=keys, **ended)


async def found(store: Store, search: Search) -> list[str]:
    """Return the ids of all pages of two."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        rows, cursor = await store.index.events(search, 2, cursor)
        ids += [row.id for row in rows]
        if cursor is None:
            return ids


async def count_rows(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(event_keys)) or 0


async def test_events_are_found_by_their_keys_newest_first(store: Store) -> None:
    await store.rows.accept([acceptance(f"e{n}", ORDER, second=n) for n in range(5)])
    await store.rows.accept([acceptance("both", ORDER, CUSTOMER, second=9), acceptance("other", CUSTOMER)])
    await store.rows.accept([acceptance("generated", ORDER, second=10)])
    assert await found(store, OF_ORDER) == ["generated", "both", "e4", "e3", "e2", "e1", "e0"]
    assert await found(store, Search(tenant="acme", keys=(ORDER, CUSTOMER))) == ["both"]
    assert await found(store, Search(tenant="acme", keys=(CUSTOMER,))) == ["both", "other"]
    assert await found(store, Search(tenant="acme", keys=(Key("order_id", "471"),))) == []


async def test_a_key_is_searched_together_with_other_filters(store: Store) -> None:
    await store.rows.accept(
        [acceptance(f"e{n}", ORDER, second=n, type_="order.paid" if n % 2 else "order.sent") for n in range(6)]
    )
    assert await found(store, replace(OF_ORDER, types=("order.paid",))) == ["e5", "e3", "e1"]
    assert await found(store, replace(OF_ORDER, since=NOW + timedelta(seconds=4))) == ["e5", "e4"]
    assert await found(store, replace(OF_ORDER, webhook="wh_1", id_prefix="e3")) == ["e3"]
    assert await found(store, replace(OF_ORDER, webhook="wh_2")) == []
    assert await found(store, replace(OF_ORDER, statuses=("failed",))) == []
    assert await store.index.count_events(OF_ORDER) == 6


async def test_a_tenant_finds_only_its_own_events(store: Store) -> None:
    await store.rows.accept([acceptance("mine", ORDER), acceptance("theirs", ORDER, tenant="beta")])
    assert await found(store, OF_ORDER) == ["mine"]


async def test_keys_are_added_once_and_only_for_the_event_that_has_the_id(store: Store, engine: AsyncEngine) -> None:
    first = acceptance("e", ORDER)
    await store.rows.accept([first])
    await store.rows.accept([acceptance("e", CUSTOMER, second=1)])
    other = acceptance("e", CUSTOMER, second=1)
    await store.rows.write([first, changed(other, accepted_at=NOW + timedelta(1))])
    assert await count_rows(engine) == 1
    assert await found(store, Search(tenant="acme", keys=(CUSTOMER,))) == []


async def test_keys_are_removed_with_their_events(store: Store, engine: AsyncEngine) -> None:
    await store.rows.accept([acceptance("erased", ORDER, CUSTOMER), acceptance("expired", ORDER, second=1)])
    await store.rows.remove("acme", "erased")
    assert await found(store, OF_ORDER) == ["expired"]
    await store.index.expire(NOW + timedelta(days=40), timedelta(days=30))
    assert await count_rows(engine) == 0


async def test_a_change_of_an_event_keeps_its_keys(store: Store, engine: AsyncEngine) -> None:
    new = acceptance("e", ORDER)
    await store.rows.accept([new])
    await store.rows.write([changed(new, as_of=NOW + timedelta(minutes=1))])
    async with engine.begin() as connection:
        await connection.execute(update(events).values(run_id="other"))
    assert await found(store, OF_ORDER) == ["e"]


async def test_a_frequent_key_is_read_in_bounded_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MAX_SCANNED", 4)
    await store.rows.accept([acceptance(f"e{n}", ORDER, second=n) for n in range(10)])
    rows, cursor = await store.index.events(replace(OF_ORDER, id_prefix="e1"), 10, None)
    assert [row.id for row in rows] == ["e1"]
    rows, cursor = await store.index.events(replace(OF_ORDER, types=("none",)), 10, None)
    assert (rows, cursor is None) == ([], False)
    assert await found(store, replace(OF_ORDER, types=("order.paid",))) == [f"e{n}" for n in range(9, -1, -1)]


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.parse(new_key("k1"))


@pytest.fixture
async def encrypted(engine: AsyncEngine, database_url: str, keyring: Keyring) -> AsyncIterator[Store]:
    """Open the same registry with keys."""
    encrypted_engine = open_engine(database_url, keyring)
    await migrate(encrypted_engine)
    store = Store(encrypted_engine)
    yield store
    await store.close()


async def test_an_encrypted_registry_stores_no_value(encrypted: Store, engine: AsyncEngine) -> None:
    await encrypted.rows.accept([acceptance("e", ORDER), acceptance("f", ORDER, tenant="beta")])
    assert await found(encrypted, OF_ORDER) == ["e"]
    async with engine.connect() as connection:
        tokens = (await connection.scalars(select(event_keys.c.token))).all()
    assert len(set(tokens)) == 2, "equal values of two tenants cannot be recognised"
    assert all(token.startswith("hmac:k1:") and "4711" not in token for token in tokens)


async def test_what_was_written_before_encryption_is_found_and_hashed(
    store: Store, encrypted: Store, engine: AsyncEngine, database_url: str, keyring: Keyring
) -> None:
    await store.rows.accept([acceptance("old", ORDER, CUSTOMER), acceptance("beta", ORDER, tenant="beta")])
    await encrypted.rows.accept([acceptance("new", ORDER, second=1)])
    assert await found(encrypted, OF_ORDER) == ["new", "old"]
    assert await re_encrypt(encrypted._engine) >= 3
    async with engine.connect() as connection:
        tokens = (await connection.scalars(select(event_keys.c.token))).all()
    assert len(tokens) == 4
    assert all(token.startswith("hmac:") for token in tokens)
    assert await found(encrypted, OF_ORDER) == ["new", "old"]
    assert await found(encrypted, Search(tenant="acme", keys=(CUSTOMER,))) == ["old"]
