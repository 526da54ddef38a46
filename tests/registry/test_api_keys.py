"""Keys to the API, on SQLite and PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.api_keys import ApiKey, ApiKeys, KeyExists, digest_of, new_key, new_key_id


@pytest.fixture
def keys(store: Store) -> ApiKeys:
    return store.api_keys


async def made(keys: ApiKeys, **fields: Any) -> tuple[str, str]:
    """Keep a key; give its id and itself."""
    key = new_key()
    row = ApiKey(
        **{"id": new_key_id(), "name": "x", "tenant": "acme", "scopes": ["admin"], "digest": digest_of(key), **fields}
    )
    await keys.add(row)
    return row.id, key


async def test_a_key_is_found_by_itself(keys: ApiKeys) -> None:
    key_id, key = await made(keys)
    found = await keys.find(digest_of(key))
    assert found is not None
    assert (found.id, found.tenant, found.scopes, found.revoked_at) == (key_id, "acme", ["admin"], None)
    assert await keys.find(digest_of(new_key())) is None


async def test_only_the_digest_is_kept(keys: ApiKeys, engine: AsyncEngine) -> None:
    _, key = await made(keys)
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT * FROM api_keys"))).all()
    assert key not in str(rows)
    assert key.removeprefix("hk_") not in str(rows)
    assert digest_of(key) in str(rows)


async def test_a_digest_is_one_keys(keys: ApiKeys) -> None:
    key_id, key = await made(keys)
    with pytest.raises(KeyExists):
        await made(keys, digest=digest_of(key))
    found = await keys.find(digest_of(key))
    assert found is not None
    assert found.id == key_id


async def test_a_key_is_revoked_once(keys: ApiKeys) -> None:
    key_id, key = await made(keys)
    assert sorted(await asyncio.gather(*(keys.revoke(key_id) for _ in range(5)))) == [False] * 4 + [True]
    found = await keys.find(digest_of(key))
    assert found is not None
    assert found.revoked_at is not None
    assert not await keys.revoke("key_nowhere")


async def test_use_is_noted_once_a_minute(keys: ApiKeys) -> None:
    key_id, _ = await made(keys)
    await keys.note_use(key_id)
    first = await keys.get(key_id)
    await keys.note_use(key_id)
    second = await keys.get(key_id)
    assert first is not None and second is not None
    assert first.last_used_at == second.last_used_at is not None

    old_id, _ = await made(keys, last_used_at=datetime.now(UTC) - timedelta(minutes=2))
    await keys.note_use(old_id)
    old = await keys.get(old_id)
    assert old is not None and old.last_used_at is not None
    assert old.last_used_at > datetime.now(UTC) - timedelta(seconds=30)


async def test_pages_cover_all_newest_first(keys: ApiKeys) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [
        (await made(keys, id=f"key_{n}", tenant="ab"[n % 2], created_at=at + timedelta(seconds=n // 3)))[0]
        for n in range(7)
    ]
    for limit in (1, 2, 7, 50):
        read: list[str] = []
        cursor = None
        while True:
            found, cursor = await keys.page(tenant=None, limit=limit, cursor=cursor)
            read += [key.id for key in found]
            if cursor is None:
                break
        assert read == ids[::-1]
    assert [key.id for key in (await keys.page(tenant="a", limit=9, cursor=None))[0]] == ids[::-2]
