"""Migrations run while processes of the release before read and write: rules for their statements, and their locks."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from hookkeeper.registry.migrations import LARGE, create_index, newest, versions
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.database import Database, RegistryUnavailable, open_engine
from hookkeeper.registry.store import Store
from hookkeeper.registry.upkeep import schema
from hookkeeper.registry.upkeep.schema import alembic, migrate
from timeouts import WAIT_TIMEOUT

STEP = """
from alembic import op
revision, down_revision = {revision!r}, {before!r}
def upgrade():
    op.execute("ALTER TABLE {table} ADD COLUMN of_{revision} VARCHAR")
"""
VERSIONS = Path(versions.__file__).parent
TABLE = r'(?:ONLY )?(?:IF (?:NOT )?EXISTS )?"?(\w+)"?'
CREATE_INDEX = re.compile(rf"CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?.*? ON {TABLE}", re.IGNORECASE)
FORBIDDEN = {
    "renames": r"ALTER .*\bRENAME\b",
    "drops": r"(?:ALTER .*\bDROP\b|DROP (?!INDEX CONCURRENTLY))",
    "changes the type of a column": r"ALTER .*\bTYPE\b",
    "adds a condition to a column": r"ALTER .*\bSET NOT NULL\b",
    "adds a column that old code does not fill in": r"ALTER .*\bADD COLUMN\b(?!.*\bDEFAULT\b).*\bNOT NULL\b",
    "adds a condition that reads the table": r"ALTER .*\bADD (?:CONSTRAINT|CHECK|FOREIGN|UNIQUE)\b(?!.*NOT VALID)",
    "locks a table": r"LOCK\b",
}


def violations(statements: Sequence[str]) -> list[str]:
    """Return how the statements of a step break the rules."""
    found = []
    for statement in statements:
        found += [why for why, pattern in FORBIDDEN.items() if re.match(pattern, statement, re.IGNORECASE | re.DOTALL)]
        if index := CREATE_INDEX.match(statement):
            is_online, table = index.groups()
            if not is_online and table in LARGE:
                found.append("stops writes while it creates an index")
            if is_online and any(other.startswith(("ALTER", "CREATE TABLE")) for other in statements):
                found.append("does more than to create an index concurrently")
    return found


@pytest.mark.parametrize(
    ("statements", "wanted"),
    [
        (["ALTER TABLE webhooks RENAME COLUMN url TO target"], "renames"),
        (["ALTER TABLE webhooks DROP COLUMN url"], "drops"),
        (["DROP TABLE webhooks"], "drops"),
        (["DROP INDEX ix_events_type"], "drops"),
        (["ALTER TABLE webhooks ALTER COLUMN url TYPE TEXT"], "changes the type of a column"),
        (["ALTER TABLE webhooks ALTER COLUMN name SET NOT NULL"], "adds a condition to a column"),
        (["ALTER TABLE webhooks ADD COLUMN n INTEGER NOT NULL"], "adds a column that old code does not fill in"),
        (["ALTER TABLE webhooks ADD CONSTRAINT c CHECK (n > 0)"], "adds a condition that reads the table"),
        (["LOCK TABLE webhooks"], "locks a table"),
        (["CREATE INDEX ix_a ON events (type)"], "stops writes while it creates an index"),
        (["CREATE UNIQUE INDEX ix_a ON events (type) WHERE type > ''"], "stops writes while it creates an index"),
        (
            ["ALTER TABLE events ADD COLUMN a TEXT", "CREATE INDEX CONCURRENTLY ix_a ON events (a)"],
            "does more than to create an index concurrently",
        ),
        (["ALTER TABLE webhooks ADD COLUMN n INTEGER"], None),
        (["ALTER TABLE webhooks ADD COLUMN n INTEGER DEFAULT '0' NOT NULL"], None),
        (["CREATE TABLE a (n INTEGER NOT NULL)", "CREATE INDEX ix_a ON a (n)"], None),
        (["CREATE UNIQUE INDEX ix_a ON webhooks (uid)"], None),
        (["DROP INDEX CONCURRENTLY IF EXISTS ix_a", "CREATE INDEX CONCURRENTLY ix_a ON events (type)"], None),
    ],
)
def test_what_the_rules_forbid(statements: list[str], wanted: str | None) -> None:
    assert violations(statements) == ([wanted] if wanted else [])


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(postgres_url)
    yield engine
    await engine.dispose()


@pytest.fixture
def later_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two steps of a later release follow those of this one."""
    before = newest()
    for revision, table in (("9001", "event_types"), ("9002", "webhooks")):
        (tmp_path / f"{revision}_step.py").write_text(STEP.format(revision=revision, before=before, table=table))
        before = revision

    def with_later(connection: Connection) -> Config:
        config = alembic(connection)
        config.set_main_option("path_separator", "os")
        config.set_main_option("version_locations", os.pathsep.join([str(VERSIONS), str(tmp_path)]))
        return config

    monkeypatch.setattr(schema, "alembic", with_later)


async def test_each_step_since_the_first_release_keeps_the_rules(engine: AsyncEngine) -> None:
    steps: list[list[str]] = [[]]

    def keep(_: object, __: object, statement: str, *___: object) -> None:
        steps[-1].append(statement.strip())
        if re.match("(INSERT INTO|UPDATE) alembic_version", statement):
            steps.append([])

    event.listen(engine.sync_engine, "before_cursor_execute", keep)
    await migrate(engine)
    first, *later = steps
    assert violations(first), "statements are seen: the first release makes its tables when nobody uses them"
    assert [found for statements in later if (found := violations(statements))] == []


@asynccontextmanager
async def dump(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """Hold the locks of `pg_dump` until the block ends."""
    other = open_engine(postgres_url)
    async with other.connect() as connection:
        await connection.execute(text("SET application_name = 'pg_dump'"))
        await connection.execute(text("LOCK TABLE events, webhooks, portal_sessions IN ACCESS SHARE MODE"))
        try:
            yield other
        finally:
            await connection.rollback()
            await connection.close()
            await other.dispose()


async def test_a_migration_waits_for_a_dump_while_others_write(
    postgres_url: str,
    engine: AsyncEngine,
    make_webhook: Callable[..., Webhook],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Timeline: a dump runs; a migration that changes tables begins; old code writes to them; the dump ends.
    Proves: no write fails behind the migration, which says what it waits for, and ends after the dump.
    """
    monkeypatch.setattr(schema, "MIGRATION_TIMEOUT", WAIT_TIMEOUT)
    store = Store(engine)
    await migrate(engine)
    await store.webhooks.add(make_webhook("wh_1"))
    request.getfixturevalue("later_steps")
    with capture_logs() as logs:
        async with dump(postgres_url):
            migrating = asyncio.create_task(migrate(engine))
            async with asyncio.timeout(WAIT_TIMEOUT):
                while not logs:
                    async with Database(engine).write() as session:
                        for table in ("webhooks", "events", "portal_sessions"):
                            await session.execute(text(f"UPDATE {table} SET tenant = tenant"))
            assert not migrating.done()
        await migrating
    assert logs[0]["event"] == "waiting for a lock"
    assert "(pg_dump), whose transaction has lasted" in logs[0]["held_by"]
    await store.ready()
    await store.close()


async def test_a_migration_that_gets_no_lock_says_who_has_it_and_goes_on_later(
    postgres_url: str, engine: AsyncEngine, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proves: each step has a transaction of its own. What is done stays, and a second attempt goes on from there."""
    monkeypatch.setattr(schema, "MIGRATION_TIMEOUT", 0)
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", 0.05)
    store = Store(engine)
    await store.migrate()
    request.getfixturevalue("later_steps")
    async with dump(postgres_url) as other:
        with pytest.raises(
            RegistryUnavailable, match=r"while session \d+ \(pg_dump\), whose .* run `hookkeeper migrate`"
        ):
            await store.migrate()
        async with other.connect() as connection:
            assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "9001"
    await store.migrate()
    await store.ready()
    await store.close()


def make_index(connection: Connection) -> None:
    """Run a step that creates an index."""
    context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
    with Operations.context(context), context.begin_transaction(_per_migration=True):
        create_index("ix_webhooks_name", "webhooks", ["name"], where="name <> ''")


async def test_an_index_is_created_while_others_write(
    engine: AsyncEngine, make_webhook: Callable[..., Webhook]
) -> None:
    """Timeline: a transaction has written to the table; the index begins, and waits for it; others write; it ends.
    Then the index is created again, as after an interruption.
    """
    store = Store(engine)
    await migrate(engine)
    await store.webhooks.add(make_webhook("wh_1"))
    is_valid = text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_webhooks_name'::regclass")

    async def create() -> None:
        async with engine.connect() as connection:
            await connection.run_sync(make_index)

    async def is_waiting() -> bool:
        async with engine.connect() as connection:  # a transaction sees one state of it
            return bool(await connection.scalar(text("SELECT count(*) FROM pg_stat_progress_create_index")))

    async with engine.connect() as writer:
        await writer.execute(text("UPDATE webhooks SET name = 'changed'"))
        creating = asyncio.create_task(create())
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not await is_waiting():
                await asyncio.sleep(0.01)
        await store.webhooks.add(make_webhook("wh_2"))
        assert not creating.done()
        await writer.commit()
    for again in (creating, create()):
        await again
        async with engine.connect() as connection:
            assert await connection.scalar(is_valid)
    await store.close()
