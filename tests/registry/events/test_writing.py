"""Reports of runs become rows and counters, whatever order they come in."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import BEGINNING, RunReport
from hookkeeper.registry.events.tables import deliveries, events, rollups
from hookkeeper.statuses import DeliveryStatus
from reports import changed, reported
from written_index import WrittenIndex

ACCEPTED = datetime(2026, 1, 2, 9, 30, 15, 250_000, UTC)


def attempt(number: int, error: str | None = None, minute: int = 0, duration_ms: float = 12.5) -> Attempt:
    status_code = int(error.removeprefix("http_")) if error and error.startswith("http_") else None
    return Attempt(
        number=number,
        started_at=ACCEPTED + timedelta(minutes=minute),
        duration_ms=duration_ms,
        status_code=200 if error is None else status_code,
        error=error,
    )


def delivery(status: DeliveryStatus, *attempts: Attempt, webhook: str = "wh_1") -> Delivery:
    return Delivery(id=webhook, webhook_id=webhook, status=status, attempts=attempts)


def report(seconds: float | None, *states: Delivery, status: str = "delivering", **changes: Any) -> RunReport:
    """Return a report of a run this many seconds after the event was accepted; None is the API's first report."""
    as_of = BEGINNING if seconds is None else ACCEPTED + timedelta(seconds=seconds)
    size = 17 if seconds is None else None
    return changed(reported("acme", "evt_1", ACCEPTED, as_of, states, status=status, size=size), **changes)


HISTORY = (
    report(None, delivery("pending")),
    report(1, delivery("retrying", attempt(1, "http_503"))),
    report(70, delivery("retrying", attempt(1, "http_503"), attempt(2, "timeout", 1, 15_000.0))),
    report(
        140,
        delivery("succeeded", attempt(1, "http_503"), attempt(2, "timeout", 1, 15_000.0), attempt(3, None, 2)),
        status="succeeded",
        finished_at=ACCEPTED + timedelta(seconds=140),
    ),
)
"""The reports of an event that is delivered with the third attempt."""


async def rows(engine: AsyncEngine, table: Any) -> list[dict[str, Any]]:
    async with engine.connect() as connection:
        return [dict(row) for row in (await connection.execute(select(table))).mappings()]


async def counters(engine: AsyncEngine, seconds: int = 60) -> dict[tuple[str, int], dict[str, int]]:
    """Return the tenants' counters that are not zero, by webhook and minute (or hour) since the event was accepted."""
    start = int(ACCEPTED.timestamp()) // seconds * seconds
    found = {}
    for row in await rows(engine, rollups):
        if row["seconds"] == seconds and row["tenant"]:
            counts = {name: n for name, n in row.items() if n and name not in rollups.primary_key.columns}
            if counts:
                found[row["webhook_id"], (row["at"] - start) // seconds] = counts
    return found


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
async def test_the_order_of_reports_does_not_matter(engine: AsyncEngine, order: Sequence[int]) -> None:
    index = WrittenIndex(engine)
    for n in order:
        await index.write([HISTORY[n]])

    (event,), (row,) = await rows(engine, events), await rows(engine, deliveries)
    assert (event["status"], event["size"], event["accepted_at"]) == ("succeeded", 17, ACCEPTED)
    assert event["finished_at"] == ACCEPTED + timedelta(seconds=140)
    assert (row["status"], row["attempts"], row["status_code"], row["error"]) == ("succeeded", 3, 200, None)
    assert row["finished_at"] == ACCEPTED + timedelta(minutes=2, milliseconds=12.5)
    counted = await counters(engine)
    assert counted["", 0] == {"events": 1}
    assert counted["wh_1", 0] == {"attempts": 1, "server_errors": 1, "latency_2": 1}
    assert counted["wh_1", 1] == {"attempts": 1, "timeouts": 1, "retries": 1, "latency_19": 1}
    assert counted["wh_1", 2] == {
        **{"attempts": 1, "succeeded": 1, "retries": 1, "latency_2": 1},
        "deliveries_succeeded": 1,
    }
    assert (await counters(engine, 3600))["wh_1", 0]["attempts"] == 3


async def test_all_reports_in_one_write(engine: AsyncEngine) -> None:
    index = WrittenIndex(engine)
    await index.write(HISTORY)
    once = await rows(engine, events), await rows(engine, deliveries), await counters(engine)
    await index.write(HISTORY)
    await index.write(HISTORY[::-1])
    assert once == (await rows(engine, events), await rows(engine, deliveries), await counters(engine))
    assert once[2]["wh_1", 2]["deliveries_succeeded"] == 1


async def test_a_redelivery_takes_the_first_end_back(engine: AsyncEngine) -> None:
    index = WrittenIndex(engine)
    failed = report(1, delivery("failed", attempt(1, "http_400")), status="failed", finished_at=ACCEPTED)
    await index.write([failed])
    assert (await counters(engine))["wh_1", 0]["deliveries_failed"] == 1

    await index.write([report(60, delivery("pending", attempt(1, "http_400")))])
    assert "deliveries_failed" not in (await counters(engine))["wh_1", 0]
    assert [row["finished_at"] for row in await rows(engine, deliveries)] == [None]

    again = delivery("succeeded", attempt(1, "http_400"), attempt(2, None, 1))
    await index.write([report(61, again, status="succeeded", finished_at=ACCEPTED + timedelta(seconds=61))])
    counted = await counters(engine)
    assert (counted["wh_1", 0]["attempts"], counted["wh_1", 1]["deliveries_succeeded"]) == (1, 1)


async def test_a_redelivery_whose_rows_have_gone_counts_what_is_new(engine: AsyncEngine) -> None:
    before = (delivery("pending", attempt(1, "http_400")), delivery("succeeded", attempt(1), webhook="wh_2"))
    started = report(60, *before, deliveries_before=before)
    again = delivery("succeeded", attempt(1, "http_400"), attempt(2, None, 1))
    end = ACCEPTED + timedelta(seconds=61)
    ended = report(61, again, before[1], status="succeeded", finished_at=end, deliveries_before=before)
    index = WrittenIndex(engine)
    await index.write([ended])
    await index.write([started, ended])
    assert {row["id"]: row["attempts"] for row in await rows(engine, deliveries)} == {"wh_1": 2, "wh_2": 1}
    new = {"attempts": 1, "succeeded": 1, "retries": 1, "latency_2": 1, "deliveries_succeeded": 1}
    assert await counters(engine) == {("wh_1", 1): new}


TWO = tuple(Delivery(id=f"wh_{n:03}", webhook_id=f"wh_{n:03}") for n in range(101))
"""The deliveries of an event with two runs."""


def ended(number: int, status: DeliveryStatus) -> Delivery:
    return TWO[number].model_copy(update={"status": status, "attempts": (attempt(1),)})


async def shown(engine: AsyncEngine) -> tuple[str, bool, float | None]:
    """Return the status of the event, whether it needs attention, and after how many seconds it has finished."""
    (row,) = await rows(engine, events)
    seconds = row["finished_at"] and (row["finished_at"] - ACCEPTED).total_seconds()
    return row["status"], row["needs_attention"], seconds


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_the_last_delivery_of_all_siblings_finishes_their_event(engine: AsyncEngine, is_reversed: bool) -> None:
    """Two runs record their deliveries in any order, and together: the event is one, and counted once."""
    index = WrittenIndex(engine)
    await index.write([report(None, *TWO, parts=2)])
    found = {row["id"]: row["part"] for row in await rows(engine, deliveries)}
    assert [found["wh_000"], found["wh_099"], found["wh_100"]] == [1, 1, 2]
    first = report(5, *(ended(n, "succeeded") for n in range(100)), status="succeeded", parts=2)
    second = report(7, ended(100, "failed"), status="failed", part=2, parts=2)
    one, other = (second, first) if is_reversed else (first, second)
    await index.write([one])
    assert await shown(engine) == ("delivering", is_reversed, None)
    await index.write([other, one])
    assert await shown(engine) == ("failed", True, 7)
    await index.write([first, second])
    assert await shown(engine) == ("failed", True, 7)
    counted = await counters(engine)
    assert (counted["", 0]["events"], counted["wh_100", 0]["deliveries_failed"]) == (1, 1)


async def test_an_event_with_siblings_is_scheduled_until_one_of_them_begins(engine: AsyncEngine) -> None:
    index = WrittenIndex(engine)
    await index.write([report(None, *TWO, status="scheduled", parts=2)])
    await index.write([report(1, ended(100, "cancelled"), status="cancelled", part=2, parts=2)])
    assert await shown(engine) == ("scheduled", False, None)
    await index.write([report(9, status="delivering", parts=2)])
    assert await shown(engine) == ("delivering", False, None)
    await index.write([report(12, *(ended(n, "succeeded") for n in range(100)), status="succeeded", parts=2)])
    assert await shown(engine) == ("cancelled", False, 12)
    await index.write([report(20, TWO[100], status="delivering", part=2, parts=2)])
    assert await shown(engine) == ("delivering", False, None)


async def test_a_delivery_that_was_cancelled_ends_with_its_run(engine: AsyncEngine) -> None:
    index = WrittenIndex(engine)
    await index.write([report(1, delivery("cancelled"))])
    assert [row["finished_at"] for row in await rows(engine, deliveries)] == [None]
    end = ACCEPTED + timedelta(minutes=5)
    await index.write([report(300, delivery("cancelled"), status="cancelled", finished_at=end)])
    assert [row["finished_at"] for row in await rows(engine, deliveries)] == [end]
    assert (await counters(engine))["wh_1", 5] == {"deliveries_cancelled": 1}


async def test_an_attempt_is_counted_once_although_its_row_went_back(engine: AsyncEngine) -> None:
    """Timeline: an outcome is recorded; a run that has lost that step records a command; then the outcome again, and a
    reset run makes another attempt.
    """
    index = WrittenIndex(engine)
    failed, again = attempt(1, "http_503"), attempt(2, None, 1)
    for seconds, states in enumerate(((failed,), (), (failed,), (), (failed, again)), start=1):
        await index.write([report(seconds, delivery("retrying", *states))])
    counted = await counters(engine)
    assert counted["wh_1", 0]["attempts"] == counted["wh_1", 1]["attempts"] == 1
    assert [row["attempts"] for row in await rows(engine, deliveries)] == [2]


async def test_a_record_of_a_later_run_counts_whatever_the_clocks_say(engine: AsyncEngine) -> None:
    """The clock of the shared run is ahead of that of the event's own run, and this one's of that of a redelivery."""
    index = WrittenIndex(engine)
    failed, again, last = attempt(1, "http_503"), attempt(2, "http_410", 1), attempt(3, None, 2)
    end = ACCEPTED + timedelta(seconds=60)

    def of_run(given: RunReport, run_id: str, shared_run: str | None = None) -> RunReport:
        return changed(given, run_id=run_id, shared_run=shared_run)

    shared = of_run(report(61, delivery("retrying", failed)), "shared run", "shared-1")
    own = of_run(report(60, delivery("failed", failed, again), status="failed", finished_at=end), "own run")
    before = (delivery("failed", failed, again),)
    redelivered = of_run(report(59, delivery("succeeded", failed, again, last), status="succeeded"), "second run")
    for each, status in ((shared, "retrying"), (own, "failed")):
        await index.write([each])
        assert [row["status"] for row in await rows(engine, deliveries)] == [status]
    await index.write([of_run(report(58, delivery("retrying", failed)), "own run")])
    assert [row["status"] for row in await rows(engine, deliveries)] == ["failed"], "it is older, and of the same run"
    await index.write([redelivered._replace(deliveries_before=before)])
    (event,), (row,) = await rows(engine, events), await rows(engine, deliveries)
    assert (event["status"], event["run_id"], row["status"]) == ("succeeded", "second run", "succeeded")


async def test_an_event_that_was_not_started_is_not_counted(engine: AsyncEngine) -> None:
    index = WrittenIndex(engine)
    new = report(None, delivery("pending"))
    await index.write([changed(new, id=name, run_id="") for name in ("lost", "kept")])
    await index.write([report(1, delivery("pending"), id="kept")])
    for name in ("lost", "kept", "unknown"):
        await index.erase("acme", name)
    assert (await counters(engine))["", 0] == {"events": 1}
