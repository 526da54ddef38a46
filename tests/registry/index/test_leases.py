"""Leases: one process holds each at a time, and the next one continues at its position."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.database import Database
from hookkeeper.registry.index.leases import Leases, SweepPosition
from hookkeeper.times import utc_now

pytestmark = pytest.mark.usefixtures("patient_registry")

ACCEPTED = datetime(2026, 1, 2, 9, 30, 15, 250_000, UTC)


async def test_one_process_holds_a_lease_at_a_time(engine: AsyncEngine) -> None:
    leases = Leases(Database(engine))
    assert await leases.lease("queue", "first", 60) == SweepPosition(None, None)
    assert await leases.lease("queue", "second", 60) is None
    assert await leases.lease("queue", "first", 60) == SweepPosition(None, None)
    assert await leases.lease("another queue", "second", 60) == SweepPosition(None, None)


async def test_a_lease_that_is_over_is_taken_over_with_the_position(engine: AsyncEngine) -> None:
    leases = Leases(Database(engine))
    await leases.lease("queue", "killed", -1)
    await leases.set_position("queue", SweepPosition(BEGINNING, ACCEPTED))
    assert await leases.lease("queue", "second", 60) == SweepPosition(BEGINNING, ACCEPTED)
    assert await leases.lease("queue", "killed", 60) is None


async def test_a_lease_of_a_clock_that_was_ahead_is_taken_over(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(Database(engine))
    with monkeypatch.context() as patch:
        patch.setattr("hookkeeper.registry.index.leases.utc_now", lambda: utc_now() + timedelta(hours=1))
        await leases.lease("queue", "killed", 60)
    assert await leases.lease("queue", "second", 60) is not None
    assert await leases.lease("queue", "third", 60) is None


async def test_a_lease_that_is_released_is_free_at_once(engine: AsyncEngine) -> None:
    leases = Leases(Database(engine))
    await leases.lease("queue", "first", 60)
    await leases.release("queue", "second")
    assert await leases.lease("queue", "second", 60) is None
    await leases.release("queue", "first")
    assert await leases.lease("queue", "second", 60) is not None


async def test_how_far_the_work_has_come(engine: AsyncEngine) -> None:
    leases = Leases(Database(engine))
    assert await leases.swept_until("queue") is None
    await leases.lease("queue", "first", 60)
    assert await leases.swept_until("queue") is None
    await leases.set_position("queue", SweepPosition(None, ACCEPTED))
    assert await leases.swept_until("queue") == ACCEPTED
