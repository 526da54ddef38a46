"""Hookkeeper of another checkout, such as the commit before a change: `hookkeeper dev` of its own `.venv`."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks import measure
from benchmarks.contenders.contender import Target
from benchmarks.contenders.services import api_answers
from hookkeeper.cli.ports import free_ports
from hookkeeper.cli.supervisor import Service, Supervisor

VARIABLE = "BENCH_BEFORE"
ARGUMENTS = {"temporal": "start-dev", "worker": "worker", "api": "api"}
"""By which argument of its command line each service is known."""
STOP_TIMEOUT = 60.0


def why_missing() -> str | None:
    checkout = os.environ.get(VARIABLE)
    if checkout is None:
        return f"{VARIABLE} names no checkout"
    if not _command(checkout).exists():
        return f"{VARIABLE} is {checkout}, which has no {_command('')}: run `make` there, such as `make dev`"
    return None


def _command(checkout: str) -> Path:
    return Path(checkout) / ".venv/bin/hookkeeper"


@asynccontextmanager
async def running(folder: Path, encrypt: bool) -> AsyncIterator[Target]:
    ports, key = free_ports(), f"hk_{secrets.token_hex(16)}"
    argv = [
        *(str(_command(os.environ[VARIABLE])), "dev", "--data-dir", str(folder), *(["--encrypt"] if encrypt else [])),
        *("--port", str(ports.api), "--temporal-port", str(ports.temporal), "--ui-port", str(ports.ui)),
    ]
    # Its processes must not import the code of this folder.
    env = {"HOOKKEEPER_ADMIN_KEY": key, "PYTHONSAFEPATH": "1"}
    async with Supervisor(folder / "logs") as supervisor:
        await supervisor.start(Service("dev", argv, api_answers(ports.api), env, stop_timeout=STOP_TIMEOUT))

        def pid(name: str) -> int | None:
            dev = supervisor.pid("dev")
            return measure.child_with(dev, ARGUMENTS[name]) if dev else None

        yield Target(ports.api, key, pid, tuple(ARGUMENTS))
