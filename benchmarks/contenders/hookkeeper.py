"""Hookkeeper as `hookkeeper dev` runs it, with the settings of the environment."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from benchmarks.contenders.contender import Target
from hookkeeper.cli import stack
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.ports import free_ports

ONE_EVENT_PER_RUN = {"HOOKKEEPER_MAX_EVENTS_PER_RUN": "1"}


@asynccontextmanager
async def running(folder: Path, encrypt: bool, variables: Mapping[str, str] | None = None) -> AsyncIterator[Target]:
    ports = free_ports(metrics=True)
    environments = {name: variables or {} for name in ("worker", "api")}
    plan = stack.Plan(data=DataDir(folder), ports=ports, send_emails=False, encrypt=encrypt, environments=environments)
    async with stack.running(plan) as running_stack:
        yield Target(ports.api, running_stack.admin_key, running_stack.supervisor.pid, tuple(running_stack.services))


def running_unshared(folder: Path, encrypt: bool) -> AbstractAsyncContextManager[Target]:
    """Run it with a run of its own for each event."""
    return running(folder, encrypt, ONE_EVENT_PER_RUN)
