"""The keys of events: values of their data by which they are searched, at paths that an event type or a tenant names.

A row has a token: path and value, or in an encrypted registry their HMAC, so that it shows nothing of the data. Rows go
with the row of their event.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.content.search_terms import Key
from hookkeeper.crypto.keyring import Keyring
from hookkeeper.messages.rows import EventKey
from hookkeeper.registry.events.statements import adding
from hookkeeper.registry.events.tables import event_keys
from hookkeeper.registry.storage.database import insert_into
from hookkeeper.registry.storage.transactions import Statement, Steps

PLAIN, PLAIN_END = "raw:", "raw;"
"""What plain tokens begin with, and what sorts after them."""
PURPOSE = "event_keys.token"
ROWS_AT_ONCE = 500
INSERT = adding(event_keys)


def tokens_of(tenant: str, key: Key, keyring: Keyring | None) -> tuple[str, ...]:
    """Return the tokens by which a key is searched. The first one is stored.

    The last is what rows have from before encryption was enabled.
    """
    text = f"{key.path}:{key.value}"
    return (*(keyring.tokens(f"{tenant}:{text}", PURPOSE) if keyring else ()), PLAIN + text)


def insert(found: Iterable[tuple[EventKey, Sequence[Key]]], keyring: Keyring | None) -> Steps[None]:
    """Add the keys of events that have rows. Those that are there already stay."""
    rows = [
        event._asdict() | {"token": tokens_of(event.tenant, key, keyring)[0]} for event, keys in found for key in keys
    ]
    if rows:
        yield Statement(INSERT, many=rows)


async def hash_plain(engine: AsyncEngine, keyring: Keyring) -> int:
    """Replace the tokens from before encryption was enabled by hashed ones; return their number."""
    c = event_keys.c
    is_plain = c.token >= PLAIN, c.token < PLAIN_END
    add = insert_into(event_keys, engine.dialect.name).on_conflict_do_nothing()
    changed = 0
    async with engine.connect() as connection:
        tenants = (await connection.scalars(select(c.tenant).distinct())).all()
    for tenant in tenants:
        while True:
            async with engine.begin() as connection:
                query = select(event_keys).where(c.tenant == tenant, *is_plain).limit(ROWS_AT_ONCE)
                rows = [dict(row) for row in (await connection.execute(query)).mappings()]
                if not rows:
                    break
                hashed = [row | {"token": _hashed(tenant, row["token"], keyring)} for row in rows]
                await connection.execute(add, hashed)
                for token in {row["token"] for row in rows}:
                    ids = [row["event_id"] for row in rows if row["token"] == token]
                    await connection.execute(
                        delete(event_keys).where(c.tenant == tenant, c.token == token, c.event_id.in_(ids))
                    )
            changed += len(rows)
    return changed


def _hashed(tenant: str, token: str, keyring: Keyring) -> str:
    path, _, value = token.removeprefix(PLAIN).partition(":")
    return tokens_of(tenant, Key(path, value), keyring)[0]
