"""Re-encrypts values with the first key after a rotation, or after encryption was enabled."""

from typing import Any

from sqlalchemy import Row, Table, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hookkeeper.crypto.keyring import Keyring
from hookkeeper.registry.events.event_keys import hash_plain
from hookkeeper.registry.models import Base, Suppression
from hookkeeper.registry.storage.database import without_transactions
from hookkeeper.registry.storage.encryption import is_encrypted, is_stale, keyring_of
from hookkeeper.registry.suppressions import tokens_of

BATCH = 200
SUPPRESSIONS = Suppression.__tablename__


async def re_encrypt(engine: AsyncEngine) -> int:
    """Encrypt all values with the first key; return the number of changed rows. Raises CipherError.

    Other processes may read and write at the same time: each row is locked while it is encrypted. Does nothing without
    keys.
    """
    keyring = keyring_of(engine.dialect)
    if keyring is None:
        return 0
    changed = await hash_plain(engine, keyring)
    for table in Base.metadata.sorted_tables:
        if any(is_encrypted(column.type) for column in table.columns):
            while count := await _re_encrypt_batch(engine, table, keyring):
                changed += count
    if changed and engine.dialect.name == "sqlite":
        await _remove_old_values(engine)
    return changed


async def _re_encrypt_batch(engine: AsyncEngine, table: Table, keyring: Keyring) -> int:
    columns = [column for column in table.columns if is_encrypted(column.type)]
    stale = or_(*(is_stale(column, keyring.first) for column in columns))
    query = select(*table.primary_key, *columns).where(stale).limit(BATCH).with_for_update()
    async with engine.begin() as connection:
        rows = (await connection.execute(query)).all()
        for row in rows:
            await _re_encrypt_row(connection, table, row, keyring)
    return len(rows)


async def _re_encrypt_row(
    connection: AsyncConnection, table: Table, row: Row[*tuple[Any, ...]], keyring: Keyring
) -> None:
    """Write the values of a row again, which encrypts them."""
    identity = [column == row._mapping[column] for column in table.primary_key]
    values = {column.name: row._mapping[column] for column in table.columns if is_encrypted(column.type)}
    if table.name == SUPPRESSIONS:
        values["address_token"] = tokens_of(row._mapping[table.c.address], keyring)[0]
    try:
        async with connection.begin_nested():
            await connection.execute(update(table).where(*identity).values(values))
    except IntegrityError:  # the address was suppressed again while old and new keys were in use
        await connection.execute(table.delete().where(*identity))


async def _remove_old_values(engine: AsyncEngine) -> None:
    """Rewrite the SQLite file: old values would remain in its free pages and its log."""
    async with without_transactions(engine).connect() as connection:
        await connection.execute(text("VACUUM"))
        await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
