"""`python -m benchmarks.index [sqlite] [postgresql]`: an index of events, filled by the real code, with
its queries and the dashboard's pages.

`BENCH_EVENTS` events (20,000 by default) over 30 days. It prints the time to write them, the bytes per event of each
table and index, and how long queries and pages of the dashboard take. Absolute times depend on the machine: compare
ratios within one run. With few events, counters are a larger share of the size than in use.
"""

import argparse
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.index_databases import DATABASES, filled
from benchmarks.index_reports import tenant_name, webhook_id
from benchmarks.pages import time_pages
from benchmarks.timing import time_in_turn
from cli.console import Failed, out, print_failure
from cli.processes import run
from hookkeeper.registry.events.conditions import Search, status_codes
from hookkeeper.registry.events.index import EventIndex
from hookkeeper.registry.events.statistics import StatisticsQuery
from hookkeeper.registry.storage.database import Database
from hookkeeper.times import utc_now

REPEATS = 30
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


async def main(names: list[str], keep: Path | None, events: int | None, repeats: int) -> None:
    for name in names:
        async with filled(name, keep, events) as (url, engine, contents):
            await sizes(engine, contents.events)
            index = EventIndex(Database(engine))
            await time_in_turn({name: partial(query, index) for name, query in QUERIES.items()}, repeats)
            await time_pages(url, repeats)


async def sizes(engine: AsyncEngine, events: int) -> None:
    """Print the bytes per event of the tables of the index, each with its indexes."""
    async with engine.connect() as connection:
        found = {name: int(size) for name, size in await connection.execute(text(SIZES[engine.dialect.name]))}
    total = 0
    for table in TABLES:
        parts = {name: size for name, size in found.items() if _table_of(name) == table}
        total += sum(parts.values())
        out.print(f"  {table:<50} {sum(parts.values()) / events:7.0f} bytes per event")
        for name, size in parts.items():
            out.print(f"    [dim]{name:<48} {size / events:7.0f}[/dim]")
    out.print(f"  {'all':<50} {total / events:7.0f}")


def _table_of(index: str) -> str:
    """Return the table whose name is in an index's: `events_pkey`, `sqlite_autoindex_events_1`."""
    return next((table for table in TABLES if table in index), "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.index", description=__doc__)
    parser.add_argument("databases", nargs="*", metavar="DATABASE", help=f"{' or '.join(DATABASES)}; default: both")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="keep the databases in this folder, and use those that are there; a filling that was stopped goes on",
    )
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"how often each call is timed ({REPEATS})")
    return parser


if __name__ == "__main__":
    parser = _parser()
    given = parser.parse_args()
    if unknown := set(given.databases) - set(DATABASES):
        parser.error(f"no such database: {', '.join(unknown)}; there are {', '.join(DATABASES)}")
    wanted = os.environ.get("BENCH_EVENTS")
    try:
        run(main(given.databases or list(DATABASES), given.keep, int(wanted) if wanted else None, given.repeats))
    except Failed as failure:
        print_failure(failure)
        sys.exit(1)
