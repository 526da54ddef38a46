"""What is wrong with the registry: the server, the role, the pooler, the schema, its clock, and the keys in use."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Column, String, cast, literal, not_, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hookkeeper.crypto.keyring import CipherError, not_set
from hookkeeper.findings import Finding, judge_clock, run_checks, warning, well, wrong
from hookkeeper.registry import migrations
from hookkeeper.registry.events.event_inputs import EventInputs
from hookkeeper.registry.events.index import EventIndex
from hookkeeper.registry.models import Base
from hookkeeper.registry.storage.database import (
    POOLED_STATEMENTS,
    POOLER_REMEDY,
    Database,
    RegistryUnavailable,
    RegistryUnprepared,
    errors_translated,
    sqlite_file,
    without_transactions,
)
from hookkeeper.registry.storage.encryption import has_prefix, is_encrypted, is_stale, key_of, keyring_of
from hookkeeper.registry.store import Store
from hookkeeper.wording import duration

LATE = 60.0
"""Seconds for which a delivery has been due."""
SLOW_ROUND_TRIP = 0.02
"""Seconds. Each event takes several round trips."""
ANSWER_TIMEOUT, KEYS_TIMEOUT = 5.0, 6.0
ROUNDS = 5
"""Transactions in which the pooler may give another client the connection that was used last."""
FEW_CONNECTIONS, SMALL_DISK = 0.05, 1024**3
"""The free part of the connections, and the free bytes of a disk, below which there is a warning."""
MIGRATE = "`hookkeeper migrate`"
VERSION = {
    "postgresql": "SELECT 'PostgreSQL ' || current_setting('server_version')",
    "sqlite": "SELECT 'SQLite ' || sqlite_version()",
}
ROLE = """
SELECT current_user, rolsuper, pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only,
  (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
  current_setting('max_connections')::int AS max_connections,
  (SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class WHERE relnamespace = current_schema()::regnamespace
    AND relkind IN ('r', 'p') AND relname <> 'alembic_version' AND NOT (has_table_privilege(oid, 'SELECT')
    AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE')
    AND has_table_privilege(oid, 'DELETE'))) AS forbidden
FROM pg_roles WHERE rolname = current_user"""


async def examine(engine: AsyncEngine, now: Callable[[], datetime]) -> list[Finding]:
    """Examine the database, and then what is in it."""
    checks = _Checks(engine, now)
    found = await run_checks({"registry": checks.server})
    if not checks.answers:
        return found
    both = {"registry schema": checks.schema, "keys in the registry": checks.keys, "events": checks.events}
    if engine.dialect.name != "postgresql":
        return found + await run_checks({"registry file": checks.file} | both)
    found += await run_checks({"registry pooler": checks.pooler})  # alone: it watches who gets which connection
    return found + await run_checks({"registry role": checks.role, "registry clock": checks.clock} | both)


class _Checks:
    """The checks of a database."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._reads = without_transactions(engine)
        self._now = now
        self._is_postgres = engine.dialect.name == "postgresql"
        self.answers = False

    async def server(self) -> Sequence[Finding]:
        if (file := sqlite_file(self._engine.url)) and not file.exists():  # a connection would make it
            return wrong(f"there is no file {file}", f"{MIGRATE}, or correct HOOKKEEPER_DATABASE_URL")
        try:
            async with errors_translated(ANSWER_TIMEOUT), self._reads.connect() as connection:
                version = await connection.scalar(text(VERSION[self._engine.dialect.name]))
                fastest = min([await _round_trip(connection) for _ in range(3)])
        except RegistryUnavailable as error:
            return wrong(str(error), "start the database, or correct HOOKKEEPER_DATABASE_URL")
        self.answers = True
        found = f"{version}, {fastest * 1000:.1f} ms a round trip"
        if self._is_postgres and fastest > SLOW_ROUND_TRIP:
            return warning(f"{found}: each event takes several", "run the database near API and worker")
        return well(found)

    async def schema(self) -> Sequence[Finding]:
        try:
            await Store(self._engine).ready()
        except RegistryUnprepared as error:
            return wrong(str(error), MIGRATE)
        except RegistryUnavailable:
            pass  # a key is missing, which is another check
        async with errors_translated(ANSWER_TIMEOUT), self._reads.connect() as connection:
            revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        newest = migrations.newest()
        if revision > newest:
            text_ = f"it is at {revision}, of a newer release than this one, which knows {newest}"
            return warning(text_, "upgrade this process, unless it is a rollback")
        return well(f"at {revision}, the newest")

    async def events(self) -> Sequence[Finding]:
        try:
            waiting = sum((await EventInputs(Database(self._engine)).count_overdue()).values())
        except (RegistryUnavailable, DBAPIError):
            return warning("they cannot be read yet: the schema is missing or old", MIGRATE)
        if waiting:
            return warning(f"{waiting} have no run yet: they wait for Temporal", "start Temporal, and an API process")
        oldest = (await EventIndex(Database(self._engine)).state(self._now())).oldest_pending
        if oldest >= LATE:
            return warning(f"the oldest delivery has been due for {duration(oldest)}", "start workers, or more of them")
        return well("all have runs, and none is late")

    async def role(self) -> Sequence[Finding]:
        async with errors_translated(ANSWER_TIMEOUT), self._reads.connect() as connection:
            row = (await connection.execute(text(ROLE))).one()
        found: list[Finding] = []
        if row.read_only:
            found += wrong(
                f"{row.current_user} can only read: this is a standby, or its default is read-only",
                "let HOOKKEEPER_DATABASE_URL name the primary, such as with ?target_session_attrs=read-write",
            )
        if row.forbidden:
            grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {row.current_user}"
            found += wrong(f"{row.current_user} may not read and write {row.forbidden}", f"as their owner: `{grant}`")
        if row.rolsuper:
            found += warning(f"{row.current_user} is a superuser", "use a role that owns this database only")
        if row.max_connections - row.used < row.max_connections * FEW_CONNECTIONS:
            text_ = f"{row.used} of {row.max_connections} connections are in use"
            found += warning(text_, "raise max_connections, or use PgBouncer (docs/deployment.md, Connections)")
        return found or well(f"{row.current_user}, {row.used} of {row.max_connections} connections in use")

    async def pooler(self) -> Sequence[Finding]:
        """Find a pooler, and whether it keeps prepared statements: another client takes the connection in between."""
        async with (
            errors_translated(ANSWER_TIMEOUT),
            self._reads.connect() as one,
            self._reads.connect() as other,
        ):
            mine, others = await _driver(one), await _driver(other)
            told, real = mine.get_server_pid(), await mine.fetchval("SELECT pg_backend_pid()")
            if told == real:
                return well("none, or one that passes sessions on")
            moved = False
            try:
                statement = await mine.prepare("SELECT pg_backend_pid()")
                for _ in range(ROUNDS):
                    real = await statement.fetchval()
                    async with others.transaction():
                        await others.fetchval("SELECT 1")
                        moved |= await statement.fetchval() != real
            except Exception as error:
                if getattr(error, "sqlstate", None) not in POOLED_STATEMENTS:
                    raise
                text_ = "one in transaction mode, which loses prepared statements: requests fail"
                return wrong(text_, POOLER_REMEDY)
        return well("one in transaction mode, which keeps prepared statements" if moved else "one, such as PgBouncer")

    async def clock(self) -> Sequence[Finding]:
        async with errors_translated(ANSWER_TIMEOUT), self._reads.connect() as connection:
            asked = self._now()
            its = await connection.scalar(text("SELECT clock_timestamp()"))
            answered = self._now()
        return judge_clock("the registry", its.astimezone(UTC) - (asked + (answered - asked) / 2))

    async def file(self) -> Sequence[Finding]:
        """Take the write lock of SQLite's file, as each write does, and look at its disk."""
        try:
            async with errors_translated(ANSWER_TIMEOUT), self._engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except RegistryUnavailable as error:
            return wrong(f"it cannot be written: {error}", "give its owner's rights to this process, or free the disk")
        free = shutil.disk_usage(Path(self._engine.url.database or ".").parent).free
        text_ = f"{free / 1024**3:,.1f} GiB are free on its disk"
        return warning(text_, "free or enlarge the disk") if free < SMALL_DISK else well(text_)

    async def keys(self) -> Sequence[Finding]:
        """Find values whose key is not set, is another one of this id, or is not the first."""
        found: list[Finding] = []
        try:
            async with asyncio.timeout(KEYS_TIMEOUT), self._reads.connect() as connection:
                for column in _encrypted_columns():
                    found += await self._keys_of(column, connection)
        except TimeoutError:
            return found or warning(f"not all values could be looked at within {KEYS_TIMEOUT:g} s")
        except DBAPIError:
            return found or warning("they cannot be read yet: the schema is missing or old", MIGRATE)
        keyring = keyring_of(self._engine.dialect)
        return found or well(f"{', '.join(keyring.ids)}: no other is needed" if keyring else "none is in use")

    async def _keys_of(self, column: Column[Any], connection: AsyncConnection) -> list[Finding]:
        keyring = keyring_of(self._engine.dialect)
        ids = keyring.ids if keyring else ()
        if stranger := await connection.scalar(_stored_with_none_of(column, ids)):
            key_id = key_of(stranger)
            return wrong(f"{column} is {not_set(key_id)}", f"add {key_id} to the end of HOOKKEEPER_ENCRYPTION_KEYS")
        try:
            for key_id in ids:
                (await connection.execute(select(column).where(has_prefix(column, key_id)).limit(1))).all()
        except CipherError as error:
            return wrong(f"{column} is {error}", f"correct {key_id} in HOOKKEEPER_ENCRYPTION_KEYS: it is another key")
        if ids and await connection.scalar(select(literal(1)).where(is_stale(column, ids[0])).limit(1)):
            return warning(f"values of {column} are not encrypted with {ids[0]} yet", MIGRATE)
        return []


async def _round_trip(connection: AsyncConnection) -> float:
    start = time.perf_counter()
    await connection.scalar(select(1))
    return time.perf_counter() - start


async def _driver(connection: AsyncConnection) -> Any:
    return (await connection.get_raw_connection()).driver_connection


def _encrypted_columns() -> Iterator[Column[Any]]:
    for table in Base.metadata.sorted_tables:
        yield from (column for column in table.columns if is_encrypted(column.type))


def _stored_with_none_of(column: Column[Any], ids: Sequence[str]) -> Any:
    """Select a value as it is stored, encrypted with a key that has none of these ids."""
    others = [not_(has_prefix(column, key_id)) for key_id in ids]
    return select(cast(column, String)).where(has_prefix(column), *others).limit(1)
