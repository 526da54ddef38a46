"""Encrypt what the first key has not encrypted: values from before a rotation, or from before there were keys."""

from typing import Any

from sqlalchemy import Row, Table, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hookkeeper.crypto.keyring import Keyring
from hookkeeper.registry.encryption import is_encrypted, is_stale, keyring_of
from hookkeeper.registry.models import Base, Suppression
from hookkeeper.registry.suppressions import tokens_of

BATCH = 200
SUPPRESSIONS = Suppression.__tablename__


async def re_encrypt(engine: AsyncEngine) -> int:
    """Encrypt all values with the first key; give the number of rows that were changed. Raises CipherError.

    Whoever reads or writes meanwhile is not in the way: a row is locked while it is encrypted, and its old values stay
    readable until then. Without keys there is nothing to do.
    """
    keyring = keyring_of(engine.dialect)
    if keyring is None:
        return 0
    changed = 0
    for table in Base.metadata.sorted_tables:
        if any(is_encrypted(column.type) for column in table.columns):
            while count := await _reseal_batch(engine, table, keyring):
                changed += count
    if changed and engine.dialect.name == "sqlite":
        await _forget_what_was(engine)
    return changed


async def _reseal_batch(engine: AsyncEngine, table: Table, keyring: Keyring) -> int:
    columns = [column for column in table.columns if is_encrypted(column.type)]
    stale = or_(*(is_stale(column, keyring.first) for column in columns))
    query = select(*table.primary_key, *columns).where(stale).limit(BATCH).with_for_update()
    async with engine.begin() as connection:
        rows = (await connection.execute(query)).all()
        for row in rows:
            await _reseal_row(connection, table, row, keyring)
    return len(rows)


async def _reseal_row(connection: AsyncConnection, table: Table, row: Row[*tuple[Any, ...]], keyring: Keyring) -> None:
    """Write the values of a row again: they are encrypted on their way."""
    identity = [column == row._mapping[column] for column in table.primary_key]
    values = {column.name: row._mapping[column] for column in table.columns if is_encrypted(column.type)}
    if table.name == SUPPRESSIONS:
        values["address_token"] = tokens_of(row._mapping[table.c.address], keyring)[0]
    try:
        async with connection.begin_nested():
            await connection.execute(update(table).where(*identity).values(values))
    except IntegrityError:  # the address was suppressed again while old and new keys were in use side by side
        await connection.execute(table.delete().where(*identity))


async def _forget_what_was(engine: AsyncEngine) -> None:
    """Rewrite SQLite's file: what was overwritten would stay in its free pages, and in its log."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("VACUUM"))
        await connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
