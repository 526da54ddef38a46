"""A worker in a process of its own, for tests that kill it."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import forks

from drills.event_loops import watched
from event_loops import HELD, LIMIT_MS
from instances import Instance

ROOT = Path(__file__).parents[1]


SOON_UNSTUCK = {"hookkeeper.temporal.workers.serve.STICKY_TIMEOUT": 2}
"""For workers that are killed: the next one has their runs after two seconds, and not after ten."""
WorkerProcess = asyncio.subprocess.Process | forks.Fork


@asynccontextmanager
async def worker_process(
    instance: Instance, code: Path = ROOT, timeouts: Mapping[str, int] | None = None
) -> AsyncIterator[WorkerProcess]:
    """Run `hookkeeper worker` for this instance, of the code in this folder, until the block ends.

    Timeouts without a setting can be other ones, in seconds by their names.
    """
    assert code == ROOT or not timeouts, "only forks can have another one"
    settings = instance.settings
    variables = os.environ | {
        **watched(LIMIT_MS, code),
        "HOOKKEEPER_DATABASE_URL": settings.database_url,
        "HOOKKEEPER_TASK_QUEUE": settings.task_queue,
        "HOOKKEEPER_DEPLOYMENT_VERSION": settings.deployment_version or "",
        "HOOKKEEPER_ALLOWED_NETWORKS": ",".join(settings.allowed_networks),
        **({"HOOKKEEPER_EMAIL_CAPTURE_DIR": str(folder)} if (folder := settings.email_capture_dir) else {}),
        forks.TIMEOUTS: json.dumps(timeouts or {}),
        "TEMPORAL_ADDRESS": instance.temporal.service_client.config.target_host,
    }
    with tempfile.TemporaryDirectory() as log:
        errors = Path(log, "errors")
        process = await _started(code, variables, errors)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            written = errors.read_text()
    assert HELD not in written, written


async def _started(code: Path, variables: dict[str, str], errors: Path) -> WorkerProcess:
    if code == ROOT:
        return await forks.started(["worker"], code, variables, Path(os.devnull), errors)
    with errors.open("wb") as file:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hookkeeper", "worker"),
            env=variables,
            cwd=code,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=file,
        )
