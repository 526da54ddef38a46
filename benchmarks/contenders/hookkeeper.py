"""Hookkeeper as `hookkeeper dev` runs it, with the settings of the environment: of this checkout, or of another one."""

import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from benchmarks import measure
from benchmarks.contenders.contender import SystemUnderTest
from benchmarks.contenders.services import api_answers
from hookkeeper.cli.ports import free_ports
from hookkeeper.cli.supervisor import Service, Supervisor

ONE_EVENT_PER_RUN = {"HOOKKEEPER_MAX_EVENTS_PER_RUN": "1"}
OTHER_CHECKOUT = "BENCH_BEFORE"
"""The variable that names the folder of another checkout, such as the commit before a change."""
ARGUMENTS = {"temporal": "start-dev", "worker": "worker", "api": "api"}
"""By which argument of its command line each process of `dev` is known."""
STOP_TIMEOUT = 60.0


def running(folder: Path, encrypt: bool) -> AbstractAsyncContextManager[SystemUnderTest]:
    return _running_dev([sys.executable, "-m", "hookkeeper"], folder, encrypt, {})


def running_unshared(folder: Path, encrypt: bool) -> AbstractAsyncContextManager[SystemUnderTest]:
    """Run it with a run of its own for each event."""
    return _running_dev([sys.executable, "-m", "hookkeeper"], folder, encrypt, ONE_EVENT_PER_RUN)


def running_before(folder: Path, encrypt: bool) -> AbstractAsyncContextManager[SystemUnderTest]:
    """Run the other checkout."""
    # Its processes must not import the code of this folder.
    return _running_dev([str(_command(os.environ[OTHER_CHECKOUT]))], folder, encrypt, {"PYTHONSAFEPATH": "1"})


def why_no_other_checkout() -> str | None:
    checkout = os.environ.get(OTHER_CHECKOUT)
    if checkout is None:
        return f"{OTHER_CHECKOUT} names no checkout"
    if not _command(checkout).exists():
        return f"{OTHER_CHECKOUT} is {checkout}, which has no {_command('')}: run `make` there, such as `make dev`"
    return None


def _command(checkout: str) -> Path:
    return Path(checkout) / ".venv/bin/hookkeeper"


@asynccontextmanager
async def _running_dev(
    command: Sequence[str], folder: Path, encrypt: bool, variables: Mapping[str, str]
) -> AsyncIterator[SystemUnderTest]:
    ports, key = free_ports(metrics=True), f"hk_{secrets.token_hex(16)}"
    argv = [
        *(*command, "dev", "--data-dir", str(folder), *(["--encrypt"] if encrypt else [])),
        *("--port", str(ports.api), "--temporal-port", str(ports.temporal), "--ui-port", str(ports.ui)),
        *("--metrics-port", str(ports.metrics)),
    ]
    environment = {"HOOKKEEPER_ADMIN_KEY": key, **variables}
    async with Supervisor(folder / "logs") as supervisor:
        await supervisor.start(Service("dev", argv, api_answers(ports.api), environment, stop_timeout=STOP_TIMEOUT))

        def pid(name: str) -> int | None:
            dev = supervisor.pid("dev")
            return measure.descendant_with(dev, ARGUMENTS[name]) if dev and name in ARGUMENTS else dev

        yield SystemUnderTest(ports.api, key, pid, ("dev", *ARGUMENTS))
