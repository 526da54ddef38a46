"""What the metrics say about the index: the oldest pending delivery, what waits, and delays."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events.merge import Delay, IndexChanges, merge
from hookkeeper.registry.events.state import _oldest_pending
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.database import Database
from hookkeeper.statuses import DeliveryStatus
from reports import changed, reported
from written_index import WrittenIndex

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def report(
    name: str, age: timedelta, *statuses: DeliveryStatus, event: Any = "delivering", due: timedelta | None = None
) -> RunReport:
    """Return the report of an event that was accepted, and is due, so long ago."""
    deliver_at = None if due is None else NOW - due
    deliveries = tuple(Delivery(id=f"wh_{n}", webhook_id=f"wh_{n}", status=status) for n, status in enumerate(statuses))
    return reported("acme", name, NOW - age, NOW - age, deliveries, status=event, deliver_at=deliver_at)


def without_attempt(name: str, age: timedelta, **fields: Any) -> RunReport:
    """Return the report of an event whose delivery waits for something else than a worker."""
    delivery = Delivery(**{"id": "wh_0", "webhook_id": "wh_0", "status": "pending", **fields})
    return report(name, age)._replace(deliveries=(delivery,))


def webhook(id_: str, **fields: Any) -> Webhook:
    return Webhook(id=id_, tenant="acme", url="https://acme.example/", events=["*"], secret="whsec_", **fields)


async def test_the_oldest_pending_delivery_of_an_event_that_is_due(engine: AsyncEngine) -> None:
    database, index = Database(engine), WrittenIndex(engine)
    assert await index.state(NOW) == (0.0, 0, 0, 0)
    await index.write(
        [
            report("retrying", 9 * MINUTE, "retrying", "held", "held"),
            report("scheduled", 8 * MINUTE, "pending", event="scheduled", due=-MINUTE),
            report("was-scheduled", 7 * MINUTE, "pending", due=2 * MINUTE),
            without_attempt("deferred", 6 * MINUTE, next_attempt_at=NOW + MINUTE),
            without_attempt("queued", 6 * MINUTE, reason="queued"),
            without_attempt("degraded", 6 * MINUTE, webhook_id="wh_timeouts"),
            report("waits", 5 * MINUTE, "succeeded", "pending"),
            report("new", MINUTE, "pending"),
        ]
    )
    async with database.write() as session:
        session.add_all([webhook("wh_0", rate_limit=1.0), webhook("wh_timeouts", timeouts=3)])
    assert await index.state(NOW) == (300.0, 2, 1, 0)


async def test_a_delivery_that_was_released_is_due_since_then(engine: AsyncEngine) -> None:
    """A webhook was paused for hours. Its release takes minutes, in which someone would be called for nothing."""
    index = WrittenIndex(engine)
    released = NOW - 0.5 * MINUTE
    await index.write([report("held", 300 * MINUTE, "held"), report("waits", MINUTE, "pending")])
    await index.write([changed(report("held", 300 * MINUTE, "pending"), as_of=released)])
    assert (await index.state(NOW)).oldest_pending == 60.0


async def test_it_is_found_behind_many_that_are_not_due(engine: AsyncEngine) -> None:
    """Scheduled events and retrying ones are the candidates that are in the way, but rarely both."""
    index = WrittenIndex(engine)
    scheduled = [report(f"s-{n}", 9 * MINUTE, "pending", event="scheduled", due=-MINUTE) for n in range(5100)]
    for n in range(0, len(scheduled), 200):
        await index.write(scheduled[n : n + 200])
    await index.write([report("waits", 5 * MINUTE, "pending")])
    assert (await index.state(NOW)).oldest_pending == 300.0


async def test_it_is_read_with_indexes(engine: AsyncEngine) -> None:
    database = Database(engine)
    await WrittenIndex(engine).write([report("waits", 5 * MINUTE, "pending")])
    async with database.scan() as session:
        for query in _oldest_pending():
            compiled = query.compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
            explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
            plan = " ".join(str(row) for row in await session.execute(text(f"{explain} {compiled}")))
            assert "ix_events_status" in plan or "ix_deliveries_status" in plan or "status_accepted_at" in plan, plan
            assert "TEMP B-TREE" not in plan and "Sort" not in plan, plan


# Delays

ACCEPTED = NOW - timedelta(hours=1)


def attempt(number: int, seconds: float) -> Attempt:
    return Attempt(number=number, started_at=ACCEPTED + timedelta(seconds=seconds), duration_ms=500)


def of_event(seconds: float, delivery: Delivery, deliver_at: datetime | None = None) -> RunReport:
    as_of = ACCEPTED + timedelta(seconds=seconds)
    return reported("acme", "evt_1", ACCEPTED, as_of, (delivery,), deliver_at=deliver_at)


def delays(changes: IndexChanges) -> tuple[list[Delay], list[Delay]]:
    return changes.first_attempts, changes.successes


def test_each_delay_counts_once_however_often_it_is_reported() -> None:
    first = Delivery(id="wh_1", webhook_id="wh_1", status="retrying", attempts=(attempt(1, 2),))
    last = first.model_copy(update={"status": "succeeded", "attempts": (attempt(1, 2), attempt(2, 60))})
    begin = merge([of_event(3, first), of_event(3, first)], {}, {})
    assert delays(begin) == ([Delay("webhook", 2.0)], [])
    end = merge([of_event(61, last), of_event(61, last), of_event(3, first)], begin.events, begin.deliveries)
    assert delays(end) == ([], [Delay("webhook", 60.5)])
    assert delays(merge([of_event(61, last)], end.events, end.deliveries)) == ([], [])


def test_a_delay_begins_when_the_event_is_due() -> None:
    done = Delivery(
        id="wh_1.email.1", webhook_id="wh_1", channel="email", status="succeeded", attempts=(attempt(1, 61),)
    )
    due = ACCEPTED + MINUTE
    assert delays(merge([of_event(62, done, due)], {}, {})) == ([Delay("email", 1.0)], [Delay("email", 1.5)])
    part = of_event(62, done, due)
    known = merge([of_event(1, done.model_copy(update={"attempts": (), "status": "pending"}), due)], {}, {})
    assert delays(merge([part], known.events, known.deliveries)) == ([Delay("email", 1.0)], [Delay("email", 1.5)])


def test_a_redelivery_has_no_delay() -> None:
    failed = Delivery(id="wh_1", webhook_id="wh_1", status="failed", attempts=(attempt(1, 2),))
    again = failed.model_copy(
        update={"status": "succeeded", "attempts": (attempt(1, 2), attempt(2, 3000)), "redelivered_from": 2}
    )
    known = merge([of_event(3, failed)], {}, {})
    assert delays(merge([of_event(3001, again)], known.events, known.deliveries)) == ([], [])
