"""The schema: bring it up to date, on PostgreSQL while others read and write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.registry import migrations
from hookkeeper.registry.storage.database import RegistryUnavailable, sqlite_file, sqlstate

if TYPE_CHECKING:
    from alembic.config import Config

log = structlog.get_logger("hookkeeper.registry")
MIGRATION_TIMEOUT = 60.0
"""Seconds to wait for another process that migrates a SQLite file, or for locks of PostgreSQL."""
MIGRATION_PAUSE = 1.0
"""Seconds between two attempts to get such a lock."""
LOCK_TIMEOUT = 1.0
"""Seconds for which a migration waits for a lock of a table: others queue behind it, and give up after
`CALL_TIMEOUT`."""
NO_LOCK = "55P03"
"""PostgreSQL's code for a lock that was not available in this time."""
LOCK_HOLDER = text("""
SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::int
FROM pg_locks JOIN pg_stat_activity USING (pid) JOIN pg_class ON pg_class.oid = relation
WHERE granted AND relnamespace = current_schema()::regnamespace AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 1""")
"""The oldest transaction that uses a table of the registry."""
MIGRATION_LOCK = 0x686F6F6B
"""An arbitrary number, unique in the database."""


def alembic(connection: Connection | None = None) -> "Config":
    """Configure Alembic for the migrations of this package, wherever it is installed."""
    from alembic.config import Config  # only migrations need Alembic

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "hookkeeper.registry:migrations")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


async def migrate(engine: AsyncEngine) -> None:
    """Bring the schema up to date; a second process waits, and finds nothing to do."""
    if file := sqlite_file(engine.url):  # for its owner alone: it holds the webhooks' secrets
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if engine.dialect.name == "postgresql":
        async with _only_one_migrates(engine):
            await _migrate_online(engine)
        return
    async with engine.connect() as connection:
        await connection.run_sync(_wait_for_long)
        async with connection.begin():
            await connection.run_sync(_upgrade)


@asynccontextmanager
async def _only_one_migrates(engine: AsyncEngine) -> AsyncIterator[None]:
    """Keep a lock with a transaction of its own, which a pooler does not give to another client.

    It is asked for again and again: PostgreSQL creates no index while a statement waits.
    """
    while True:
        async with engine.begin() as connection:
            if await connection.scalar(select(func.pg_try_advisory_xact_lock(MIGRATION_LOCK))):
                # Unlike a SELECT, SET leaves no snapshot, for whose end CREATE INDEX CONCURRENTLY would wait.
                await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                yield
                return
        await asyncio.sleep(MIGRATION_PAUSE)


async def _migrate_online(engine: AsyncEngine) -> None:
    """Bring the schema up to date while others read and write: with a transaction for each step, which does not wait
    long for a lock, and is repeated.
    """
    deadline = asyncio.get_running_loop().time() + MIGRATION_TIMEOUT
    while True:
        try:
            async with engine.connect() as connection:
                event.listen(connection.sync_connection, "begin", _wait_briefly)
                await connection.run_sync(_upgrade)
            return
        except DBAPIError as error:
            if sqlstate(error) != NO_LOCK:
                raise
            holder = await _lock_holder(engine)
            if asyncio.get_running_loop().time() > deadline:
                raise RegistryUnavailable(
                    f"the registry's schema cannot be changed while {holder} uses its tables. Everything works as"
                    " before: run `hookkeeper migrate` again when that has ended"
                ) from error
            log.warning("waiting for a lock", held_by=holder, retry_in=MIGRATION_PAUSE)
        await asyncio.sleep(MIGRATION_PAUSE)


async def _lock_holder(engine: AsyncEngine) -> str:
    async with engine.connect() as connection:
        row = (await connection.execute(LOCK_HOLDER)).one_or_none()
    if row is None:
        return "another session"
    pid, name, seconds = row
    if seconds is None:  # PostgreSQL shows sessions of other roles to some roles only
        return f"session {pid}"
    return f"session {pid} ({name}), whose transaction has lasted {seconds} s,"


def _wait_briefly(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")


def _upgrade(connection: Connection) -> None:
    """Bring the schema up to date. That of a newer release stays: older code can use it, as after a rollback."""
    from alembic import command
    from alembic.migration import MigrationContext

    is_online = not connection.in_transaction()
    revision = MigrationContext.configure(connection).get_current_revision()
    if is_online:
        connection.rollback()  # the query has begun a transaction
    if revision is not None and revision > migrations.newest():
        log.warning("the registry has the schema of a newer release, and stays as it is", revision=revision)
        return
    command.upgrade(alembic(connection), "head")


def _wait_for_long(connection: Connection) -> None:
    """Let this connection wait for another process that migrates the SQLite file."""
    connection.connection.cursor().execute(f"PRAGMA busy_timeout={int(MIGRATION_TIMEOUT * 1000)}")
