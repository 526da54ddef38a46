"""A stopping process ends although its work hangs, and logs it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import processes
from temporalio.client import Client

from cli.processes import FAILED
from instances import KEY, Instance
from temporal_processes import free_ports
from timeouts import WAIT_TIMEOUT

ROOT = Path(__file__).parents[2]

SOONER = """
from datetime import timedelta
from cli import processes
processes.SHUTDOWN_MARGIN = timedelta(seconds=1)
"""
"""A process of this file has a second to end, not ten."""
STUCK = f"""{SOONER}
import threading
from temporalio import workflow

@workflow.defn(name="Stuck", sandboxed=False)
class Stuck:
    @workflow.run
    async def run(self) -> None:
        while True:  # the deadlock detector interrupts it in vain, and it cannot be evicted
            try:
                threading.Event().wait(0.1)
            except BaseException:
                pass

import worker
from cli.operators.run_worker import run_worker

worker.WORKFLOWS.append(Stuck)
run_worker()
"""
BLOCKED_LOOP = f"""{SOONER}
import threading
import cli.operators.run_{{name}}

async def hang(*_):
    print("hangs", flush=True)
    while True:
        try:
            threading.Event().wait(0.1)
        except BaseException:
            pass

cli.operators.run_{{name}}.{{function}} = hang
cli.operators.run_{{name}}.run_{{name}}()
"""


@asynccontextmanager
async def process(
    instance: Instance, folder: Path, script: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """Run a process of this instance that hangs; yield it and its log."""
    log = folder / "process.log"
    with log.open("wb") as file:
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script),
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "HOOKKEEPER_ADMIN_KEY": KEY,
                "HOOKKEEPER_DATABASE_URL": instance.settings.database_url,
                "HOOKKEEPER_TASK_QUEUE": instance.settings.task_queue,
                "HOOKKEEPER_PORT": str(free_ports().ui),
                "HOOKKEEPER_SHUTDOWN_TIMEOUT": "0",
                "HOOKKEEPER_SHUTDOWN_DELAY": "0",
                "TEMPORAL_ADDRESS": instance.temporal.service_client.config.target_host,
            },
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield started, log
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def says(process: asyncio.subprocess.Process, log: Path, text: str) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while text not in log.read_text():
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.1)


async def ends_with_an_error(process: asyncio.subprocess.Process, log: Path) -> str:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(WAIT_TIMEOUT):
        code = await process.wait()
    written = log.read_text()
    assert code == FAILED, written
    assert "shutdown did not end within 1 s: the process exits now" in written
    return written


async def test_a_worker_with_a_run_that_cannot_be_evicted_ends(
    idle_instance: Instance, temporal: Client, tmp_path: Path
) -> None:
    """Before, `Worker.shutdown()` never returned."""
    async with process(idle_instance, tmp_path, STUCK) as (worker, log):
        queue = idle_instance.settings.task_queue
        handle = await temporal.start_workflow("Stuck", id=f"stuck-{queue}", task_queue=queue)
        await says(worker, log, "TMPRL1101")
        written = await ends_with_an_error(worker, log)
        assert "threading.Event().wait" in written or "in wait" in written, "the stack of what hangs"
        await handle.terminate()


async def test_a_process_whose_event_loop_hangs_ends(idle_instance: Instance, tmp_path: Path) -> None:
    """Both at the same time."""

    async def ends(name: str, function: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        script = BLOCKED_LOOP.format(name=name, function=function)
        async with process(idle_instance, folder, script) as (hanging, log):
            await says(hanging, log, "hangs")
            assert "in hang" in await ends_with_an_error(hanging, log)

    await asyncio.gather(ends("worker", "forever"), ends("api", "until_connected"))


async def test_temporal_that_does_not_stop_does_not_keep_dev_running(tmp_path: Path) -> None:
    async with processes.dev(tmp_path, settings={"HOOKKEEPER_SHUTDOWN_TIMEOUT": "0"}) as dev:
        children = await processes.children(dev.process.pid)
        os.kill(children["temporal"], signal.SIGSTOP)
        await dev.process.stop(signal.SIGTERM)
        await processes.until(lambda: not any(processes.is_alive(pid) for pid in children.values()))
