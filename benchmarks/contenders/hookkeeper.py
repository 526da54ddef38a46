"""Hookkeeper as `hookkeeper dev` runs it, with the settings of the environment."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.contenders.contender import Target
from hookkeeper.cli import stack
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.ports import free_ports
from hookkeeper.settings import Settings

UNSHARED = {"HOOKKEEPER_MAX_EVENTS_PER_RUN": "1"}


def why_no_sharing() -> str | None:
    if "max_events_per_run" in Settings.model_fields:
        return None
    return "this version has no HOOKKEEPER_MAX_EVENTS_PER_RUN, so every event has its own run anyway"


@asynccontextmanager
async def running(folder: Path, encrypt: bool, variables: Mapping[str, str] | None = None) -> AsyncIterator[Target]:
    ports = free_ports()
    environments = {name: variables or {} for name in ("worker", "api")}
    plan = stack.Plan(data=DataDir(folder), ports=ports, send_emails=False, encrypt=encrypt, environments=environments)
    async with stack.running(plan) as running_stack:
        yield Target(ports.api, running_stack.admin_key, running_stack.supervisor.pid, tuple(running_stack.services))


@asynccontextmanager
async def running_unshared(folder: Path, encrypt: bool) -> AsyncIterator[Target]:
    async with running(folder, encrypt, UNSHARED) as target:
        yield target
