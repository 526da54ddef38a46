"""On SQLite, whose planner reads a whole table for a list of keys, writing and reading by keys follows indexes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events import lines
from hookkeeper.registry.events import statements as written
from hookkeeper.registry.events.conditions import Search, status_codes
from hookkeeper.registry.events.counter_rows import NUMBERS, PRESENT
from hookkeeper.registry.events.event_inputs import EventInputs
from hookkeeper.registry.events.search import find_events
from hookkeeper.registry.storage.compiled import Compiled, Query
from hookkeeper.registry.storage.database import Database, open_engine
from hookkeeper.registry.store import Store
from reports import reported
from written_index import WrittenIndex

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
TENANTS = ("acme", "beta", "gamma")
DIRECT: list[tuple[Query, dict[str, Any]]] = [
    (written.SELECT_EVENTS, {"rows": json.dumps([("acme", "e1")])}),
    (written.SELECT_DELIVERIES, {"rows": json.dumps([(1, "acme", "e1", "wh_1")])}),
    (lines.TAILS, {"rows": json.dumps([("wh_1", "k")])}),
    (lines.LEAVE, {"webhook": "wh_1", "of_line": "k", "at_place": 1}),
    (lines.PASS_FAILED, {"webhook": "wh_1"}),
    (lines.NEXT, {"rows": json.dumps([("wh_1", "k", 1)])}),
    (
        written.MOVE,
        {"to_run": None, "to_run_id": "", "from_run": "shared-1", "rows": json.dumps([("acme", "e1")])},
    ),
    *((query, {"tenant": "acme", "event": "e1"}) for query in written.REMOVE),
    (NUMBERS, {"rows": json.dumps([(60, "acme", 0)])}),
    (PRESENT, {"seconds": 60, "tenant": "acme", "at": 0, "rows": json.dumps([("wh_1", "order.paid", "webhook")])}),
]
"""The statements that writes execute with the driver."""
LARGE = ("events", "deliveries", "rollups")
"""Tables that grow with the number of events."""


def report(number: int, *, days_ago: int = 0) -> RunReport:
    accepted_at = NOW - timedelta(days=days_ago, minutes=number)
    attempt = Attempt(number=1, started_at=accepted_at, duration_ms=5, status_code=200)
    deliveries = tuple(
        Delivery(id=f"wh_{n}", webhook_id=f"wh_{n}", status="succeeded", attempts=(attempt,)) for n in range(2)
    )
    tenant, event_id = TENANTS[number % len(TENANTS)], f"e{number}-{days_ago}"
    ended = {"status": "succeeded", "finished_at": accepted_at}
    return reported(tenant, event_id, accepted_at, accepted_at, deliveries, **ended)


@contextmanager
def executed(engine: AsyncEngine) -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that are executed within the block, each with its parameters."""
    statements: list[tuple[str, Any]] = []

    def collect(_: object, __: object, statement: str, parameters: Any, ___: object, many: bool) -> None:
        statements.append((statement, parameters[0] if many else parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", collect)
    try:
        yield statements
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", collect)


async def scanned(engine: AsyncEngine, statements: list[tuple[str, Any]]) -> list[str]:
    """Return the statements that read the whole of a large table, each with its plan."""
    found = []
    async with engine.connect() as connection:
        for statement, parameters in statements:
            if not statement.strip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")):
                continue
            rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = [str(detail) for *_, detail in rows]
            # The index of events that wait for Temporal has no others.
            steps = [step for step in plan if "ix_events_not_recorded" not in step]
            if any(step.startswith(tuple(f"SCAN {table}" for table in LARGE)) for step in steps):
                found.append(f"{statement}: {plan}")
    return found


async def test_no_write_of_the_index_reads_a_whole_table(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    await Store(engine).migrate()
    index = WrittenIndex(engine)
    old = [report(number, days_ago=20) for number in range(10)]
    with executed(engine) as statements:
        await index.write(old)
        await index.write([report(number) for number in range(10)])
        await index.write(old)  # again: the rows are there
        async with index.rows() as rows:
            await rows.with_ids([given.event.id for given in old])
            await rows.silent(NOW, None, 10)
        inputs = EventInputs(Database(engine))
        await inputs.find(*old[0].event.name)
        await inputs.of_shared_run("shared-1")
        await inputs.overdue(NOW, 10)
        await inputs.count_overdue()
        await inputs.note_run([given.event for given in old], "run")
        await index.runs_by_status.held_by_active(NOW)
        await index.erase(*old[0].event.name)
        await index.expire(NOW, timedelta(days=10))
    for query, values in DIRECT:
        compiled = Compiled(query, engine.dialect)
        statements.append((compiled.text, compiled.ordered(values)))
    assert await scanned(engine, statements) == []
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM events")) == 10
        assert await connection.scalar(text("SELECT count(*) FROM deliveries")) == 20
    await engine.dispose()


async def test_a_class_of_status_codes_is_read_from_its_index_alone(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    await Store(engine).migrate()
    search = Search(statuses=("succeeded",), status_codes=status_codes("5xx"))
    async with Database(engine).scan() as session:
        with executed(engine) as statements:
            await find_events(session, search, 10, None)
    async with engine.connect() as connection:
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statements[-2][0]}", statements[-2][1])
        plan = [str(detail) for *_, detail in rows]
    assert any("USING COVERING INDEX ix_deliveries_class" in step for step in plan), (statements, plan)
    await engine.dispose()
