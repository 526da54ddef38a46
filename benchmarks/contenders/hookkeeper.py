"""Hookkeeper as `hookkeeper dev` runs it, with the settings of the environment."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.contenders.contender import Target
from hookkeeper.cli import stack
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.ports import free_ports


@asynccontextmanager
async def running(folder: Path, encrypt: bool, variables: Mapping[str, str] | None = None) -> AsyncIterator[Target]:
    ports = free_ports(metrics=True)
    environments = {name: variables or {} for name in ("worker", "api")}
    plan = stack.Plan(data=DataDir(folder), ports=ports, send_emails=False, encrypt=encrypt, environments=environments)
    async with stack.running(plan) as running_stack:
        yield Target(ports.api, running_stack.admin_key, running_stack.supervisor.pid, tuple(running_stack.services))
