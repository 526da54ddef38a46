"""`hookkeeper worker --local` on a new server: it prepares the namespace as soon as there is one."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from cli.operators.startup import connect
from drills.stack import temporal_service
from drills.supervisor import Supervisor
from hookkeeper.settings import Settings
from hookkeeper.temporal.server import namespace
from hookkeeper.temporal.workers import local as local_workers
from temporal_processes import free_ports

pytestmark = pytest.mark.processes

RETENTION = timedelta(days=5)


async def test_prepares_a_server_that_has_just_begun_to_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits until the server has created the namespace."""
    ports = free_ports()
    service = temporal_service(tmp_path, ports, search_attributes={})
    async with Supervisor(tmp_path / "logs") as supervisor:
        starting = asyncio.create_task(supervisor.start(service))
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{ports.temporal}")
        client = await connect(Settings())
        await local_workers.prepare(client, RETENTION)
        assert not await namespace.inspect(client, RETENTION)
        await starting


async def test_waits_for_a_server_that_is_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = free_ports()
    async with Supervisor(tmp_path / "logs") as supervisor:
        await supervisor.start(temporal_service(tmp_path, ports))
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{ports.temporal}")
        client = await connect(Settings())
        pid = supervisor.pid("temporal")
        assert pid
        os.kill(pid, signal.SIGKILL)
        await local_workers.prepare(client, RETENTION)
        assert not await namespace.inspect(client, RETENTION)
