"""What all processes begin with."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from cli.console import Failed, InvalidSettings
from cli.operators.startup import connect
from drills.stack import temporal_service
from drills.supervisor import Supervisor
from hookkeeper.settings import Settings
from temporal_processes import free_ports
from timeouts import WAIT_TIMEOUT
from worker_processes import ROOT

pytestmark = pytest.mark.processes

LOSES_TEMPORAL = """
import asyncio
from temporalio.service import RPCError
from hookkeeper import logs
from cli.operators.startup import connect, open_metrics, read_settings

async def main():
    settings = read_settings()
    logs.configure(settings.log_format)
    client = await connect(settings, runtime=open_metrics(settings).runtime)
    print('{"connected": true}', flush=True)
    await asyncio.to_thread(input)
    try:
        await client.count_workflows()
    except RPCError:
        await asyncio.sleep(0.2)

asyncio.run(main())
"""


async def test_a_certificate_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for part in ("CERT", "KEY"):
        monkeypatch.setenv(f"TEMPORAL_TLS_CLIENT_{part}_PATH", str(tmp_path / "missing.pem"))
    with pytest.raises(Failed, match=r"invalid settings of Temporal \(TEMPORAL_…\): .*missing\.pem"):
        await connect(Settings())


@pytest.mark.parametrize("address", ["temporal example:7233", "127.0.0.1:port"])
async def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    with pytest.raises(InvalidSettings, match=r"invalid settings of Temporal \(TEMPORAL_…\): invalid target URL"):
        await connect(Settings())


async def _connected(temporal_port: int, metrics_address: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOSES_TEMPORAL),
        env=os.environ
        | {
            "TEMPORAL_ADDRESS": f"127.0.0.1:{temporal_port}",
            "HOOKKEEPER_METRICS_ADDRESS": metrics_address,
            "HOOKKEEPER_LOG_FORMAT": "json",
        },
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout
    assert json.loads(await process.stdout.readline()) == {"connected": True}
    return process


async def test_the_sdks_own_lines_are_like_ours(tmp_path: Path) -> None:
    """They come while Temporal is away, when an operator reads the log. They were text with colours."""
    ports = free_ports()
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.start(temporal_service(tmp_path, ports))
        addresses = ("", f"127.0.0.1:{free_ports().ui}")
        processes = [await _connected(ports.temporal, address) for address in addresses]
    async with asyncio.timeout(WAIT_TIMEOUT):
        for written, _ in await asyncio.gather(*(process.communicate(b"\n") for process in processes)):
            lines = [json.loads(line) for line in written.splitlines()]
            assert any("count_workflow_executions retried" in line["event"] for line in lines)
            assert all({"timestamp", "level", "logger"} <= line.keys() for line in lines)
