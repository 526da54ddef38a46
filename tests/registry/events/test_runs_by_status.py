"""Runs are found in the order in which their events were accepted, and none is left out between two pages."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.bulk_work import RunPosition
from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events import runs_by_status
from hookkeeper.registry.events.runs_by_status import Selection, held_by
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from reports import reported
from written_index import WrittenIndex

BEGAN = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
FAILED = Selection("acme", "wh_1", ("failed",))


def report(
    event_id: str, seconds: float, *webhooks: str, status: str = "failed", part: int = 1, **changes: Any
) -> RunReport:
    """Return the report of a run that has one attempt of a delivery to each webhook."""
    accepted_at = BEGAN + timedelta(seconds=seconds)
    attempt = Attempt(number=1, started_at=accepted_at, duration_ms=5, error="timeout")
    deliveries = tuple(
        Delivery(
            id=f"{webhook}.{part}.{n}",
            webhook_id=webhook,
            status=status,
            reason="webhook_paused" if status == "held" else None,
            attempts=(attempt,),
        )
        for n, webhook in enumerate(webhooks or ("wh_1",))
    )
    return reported("acme", event_id, accepted_at, accepted_at, deliveries, part=part, needs_attention=True, **changes)


async def index_of(engine: AsyncEngine, reports: Iterable[RunReport]) -> WrittenIndex:
    index = WrittenIndex(engine)
    for given in reports:  # one report of each part of an event
        await index.write([given])
    return index


async def all_runs(index: WrittenIndex, selection: Selection, at_most: int) -> list[tuple[str, int]]:
    """Return all runs, page by page."""
    met: list[tuple[str, int]] = []
    after: RunPosition | None = None
    while True:
        runs, after = await index.runs_by_status.oldest(selection, after, at_most)
        assert len(runs) <= at_most
        met += [(run.position.event_id, run.position.part) for run in runs]
        if after is None:
            return met


@pytest.mark.parametrize("at_most", [1, 2, 3, 7, 100])
async def test_pages_are_in_order_and_whole(engine: AsyncEngine, at_most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setup: events that were accepted at the same microsecond, runs with several deliveries, an event in parts.
    Proves: each run is found once, in order, wherever a page ends, also within the deliveries of a run.
    """
    monkeypatch.setattr(runs_by_status, "PART", 3)
    many = ("wh_1", "wh_1", "wh_1")
    index = await index_of(
        engine,
        [
            report("c", 0),
            report("a", 0, *many),
            report("b", 0, *many),
            report("large", 2, *many, part=2, parts=2),
            report("large", 2, *many, part=1, parts=2),
            report("late", 3),
            report("d", 1, *many),
            *(report(f"e{n}", 2.5) for n in range(8)),
        ],
    )
    expected = [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("large", 1), ("large", 2)]
    assert await all_runs(index, FAILED, at_most) == [*expected, *((f"e{n}", 1) for n in range(8)), ("late", 1)]
    assert await index.runs_by_status.count(FAILED, BEGAN + timedelta(days=1)) == 15
    monkeypatch.setattr(runs_by_status, "RUNS_PER_COUNT", at_most)
    assert await index.runs_by_status.count(FAILED, BEGAN + timedelta(seconds=1)) == 3


async def test_only_what_is_selected_is_found(engine: AsyncEngine) -> None:
    index = await index_of(
        engine,
        [
            report("failed", 1, "wh_1", "wh_2"),
            report("other-webhook", 2, "wh_2"),
            report("other-tenant", 3, tenant="globex"),
            report("other-type", 4, type="order.made"),
            report("held", 5, status="held"),
            report("retrying", 6, status="retrying"),
            report("late", 60),
        ],
    )
    assert await all_runs(index, FAILED, 10) == [("failed", 1), ("other-type", 1), ("late", 1)]
    of_tenant = Selection("acme", None, ("failed",), types=("order.paid",))
    assert await all_runs(index, of_tenant, 10) == [("failed", 1), ("other-webhook", 1), ("late", 1)]
    since = Selection(
        "acme", None, ("failed",), since=BEGAN + timedelta(seconds=2), until=BEGAN + timedelta(seconds=60)
    )
    assert await all_runs(index, since, 10) == [("other-webhook", 1), ("other-type", 1)]
    assert await all_runs(index, held_by("acme", "wh_1"), 10) == [("held", 1)]
    assert await all_runs(index, held_by("acme", "wh_9"), 10) == []
    either = Selection("acme", "wh_1", ("failed", "retrying"))
    for at_most in (1, 2, 10):
        found = await all_runs(index, either, at_most)
        assert found == [("failed", 1), ("other-type", 1), ("retrying", 1), ("late", 1)]


async def test_what_is_held_by_request_is_not_the_webhooks(engine: AsyncEngine) -> None:
    by_request = report("by-request", 1, status="held")
    (delivery,) = by_request.deliveries
    index = await index_of(engine, [by_request._replace(deliveries=(delivery.model_copy(update={"reason": None}),))])
    assert await all_runs(index, held_by("acme", "wh_1"), 10) == []


async def test_events_that_fail_during_a_search(engine: AsyncEngine) -> None:
    """What was accepted after the position is found; what is redelivered meanwhile is not found again."""
    index = await index_of(engine, [report("a", 1), report("c", 3)])
    runs, after = await index.runs_by_status.oldest(FAILED, None, 1)
    assert [run.position.event_id for run in runs] == ["a"]
    await index.write([report("b", 2), report("a", 1, status="retrying", as_of=BEGAN + timedelta(hours=1))])
    runs, after = await index.runs_by_status.oldest(FAILED, after, 10)
    assert [run.position.event_id for run in runs] == ["b", "c"]
    assert after is None


async def test_webhooks_that_hold_something_although_they_are_active_are_found(engine: AsyncEngine) -> None:
    store = Store(engine)
    states: dict[str, dict[str, Any]] = {"wh_1": {}, "wh_2": {"enabled": False}, "wh_3": {"paused_at": BEGAN}}
    for webhook_id, state in states.items():
        webhook = Webhook(id=webhook_id, tenant="acme", url="https://a", events=["*"], secret="s", **state)
        await store.webhooks.add(webhook)
    index = await index_of(engine, [report("held", 1, "wh_1", "wh_2", "wh_3", status="held")])
    held_by_active = index.runs_by_status.held_by_active
    assert await held_by_active(BEGAN + timedelta(seconds=1)) == []
    assert await held_by_active(BEGAN + timedelta(seconds=2)) == [("acme", "wh_1")]
    await store.close()
