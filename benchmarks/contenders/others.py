"""The contenders other than Hookkeeper: bare Temporal, and Celery with Redis."""

import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from temporalio.client import Client

from benchmarks.contenders.bare_temporal_app import TASK_QUEUE
from benchmarks.contenders.contender import SystemUnderTest
from cli.operators.startup import read_settings
from cli.ports import LOCALHOST, free_ports
from drills.stack import answers, temporal_service
from drills.supervisor import Service, Supervisor, listens
from hookkeeper.temporal.server.readiness import is_polled

TEMPORAL_APP, CELERY_APP = "benchmarks.contenders.bare_temporal_app", "benchmarks.contenders.celery_app"
THREADS = 50


@asynccontextmanager
async def running_bare_temporal(folder: Path, _: bool) -> AsyncIterator[SystemUnderTest]:
    """Run Temporal without Hookkeeper: the same server, and the smallest API and worker that deliver an event."""
    ports = free_ports()
    address = f"{LOCALHOST}:{ports.temporal}"
    env = {"BENCH_TEMPORAL": address, "BENCH_PORT": str(ports.api), "BENCH_FOLDER": str(folder)}
    async with Supervisor(folder / "logs") as supervisor:
        temporal = temporal_service(folder, ports, read_settings().dev_synchronous, search_attributes={})
        await supervisor.start(temporal)
        is_working = partial(is_polled, await Client.connect(address), TASK_QUEUE)
        await supervisor.start(_service("worker", TEMPORAL_APP, is_working, env))
        await supervisor.start(_service("api", TEMPORAL_APP, answers(f"http://{LOCALHOST}:{ports.api}/readyz"), env))
        yield SystemUnderTest(ports.api, "none", supervisor.pid, ("temporal", "worker", "api"))


def why_no_celery() -> str | None:
    if find_spec("celery") is None or find_spec("redis") is None:
        return "celery and redis are not installed: use `make bench`, or install requirements-bench.lock"
    if shutil.which("redis-server") is None:
        return "redis-server is not installed (Debian: apt-get install redis-server)"
    return None


@asynccontextmanager
async def running_celery(folder: Path, _: bool) -> AsyncIterator[SystemUnderTest]:
    """Run Celery with Redis as its broker, both set so that an accepted event outlives `kill -9` of any process."""
    ports = free_ports()
    ready_file = folder / "worker.ready"
    env = {
        "BENCH_REDIS": f"redis://{LOCALHOST}:{ports.temporal}/0",
        "BENCH_PORT": str(ports.api),
        "BENCH_FOLDER": str(folder),
    }

    async def is_working() -> bool:
        return ready_file.exists()

    redis = [  # it appends each write to a file before it answers
        *("redis-server", "--bind", LOCALHOST, "--port", str(ports.temporal), "--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    ]
    worker = [
        *(sys.executable, "-m", "celery", "--app", CELERY_APP, "worker"),
        *("--pool", "threads", "--concurrency", str(THREADS), "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle"),
    ]
    async with Supervisor(folder / "logs") as supervisor:
        await supervisor.start(Service("redis", redis, listens(LOCALHOST, ports.temporal)))
        await supervisor.start(Service("worker", worker, is_working, env))
        await supervisor.start(_service("api", CELERY_APP, answers(f"http://{LOCALHOST}:{ports.api}/readyz"), env))
        yield SystemUnderTest(ports.api, "none", supervisor.pid, ("redis", "worker", "api"))


def _service(name: str, module: str, ready: Callable[[], Awaitable[bool]], env: Mapping[str, str]) -> Service:
    """Describe the process `python -m <module> <name>`."""
    return Service(name, [sys.executable, "-m", module, name], ready, env)
