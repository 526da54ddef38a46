"""Celery with Redis as its broker, both set so that an accepted event outlives `kill -9` of any process."""

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contenders.contender import SystemUnderTest
from benchmarks.contenders.services import api_answers, python_service
from drills.supervisor import Service, Supervisor
from hookkeeper.cli.ports import LOCALHOST, free_ports, is_port_free

MODULE = "benchmarks.contenders.celery_app"
THREADS = 50


def why_missing() -> str | None:
    if find_spec("celery") is None or find_spec("redis") is None:
        return "celery and redis are not installed: use `make bench`, or install requirements-bench.lock"
    if shutil.which("redis-server") is None:
        return "redis-server is not installed (Debian: apt-get install redis-server)"
    return None


@asynccontextmanager
async def running(folder: Path, _: bool) -> AsyncIterator[SystemUnderTest]:
    ports = free_ports()
    ready_file = folder / "worker.ready"
    env = {
        "BENCH_REDIS": f"redis://{LOCALHOST}:{ports.temporal}/0",
        "BENCH_PORT": str(ports.api),
        "BENCH_FOLDER": str(folder),
    }

    async def redis_answers() -> bool:
        return not is_port_free(LOCALHOST, ports.temporal)

    async def is_working() -> bool:
        return ready_file.exists()

    worker = [
        *(sys.executable, "-m", "celery", "--app", MODULE, "worker"),
        *("--pool", "threads", "--concurrency", str(THREADS), "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle"),
    ]
    async with Supervisor(folder / "logs") as supervisor:
        await supervisor.start(Service("redis", _redis(ports.temporal, folder), redis_answers))
        await supervisor.start(Service("worker", worker, is_working, env))
        await supervisor.start(python_service("api", MODULE, api_answers(ports.api), env))
        yield SystemUnderTest(ports.api, "none", supervisor.pid, ("redis", "worker", "api"))


def _redis(port: int, folder: Path) -> list[str]:
    """Return the command of a server that appends each write to a file before it answers."""
    return [
        *("redis-server", "--bind", LOCALHOST, "--port", str(port), "--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    ]
