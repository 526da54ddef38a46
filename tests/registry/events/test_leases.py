"""Leases: one process holds each at a time."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.registry.events.leases import Leases
from hookkeeper.registry.storage.database import Database
from hookkeeper.times import utc_now


async def test_one_process_holds_a_lease_at_a_time(engine: AsyncEngine) -> None:
    leases = Leases(Database(engine))
    assert await leases.take("retention", 60)
    assert not await leases.take("retention", 60)
    assert await leases.take("repair", 60)


async def test_a_lease_that_is_over_is_taken_over(engine: AsyncEngine) -> None:
    leases = Leases(Database(engine))
    assert await leases.take("retention", -1)
    assert await leases.take("retention", 60)
    assert not await leases.take("retention", 60)


async def test_a_lease_of_a_clock_that_was_ahead_is_taken_over(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(Database(engine))
    with monkeypatch.context() as patch:
        patch.setattr("hookkeeper.registry.events.leases.utc_now", lambda: utc_now() + timedelta(hours=1))
        await leases.take("retention", 60)
    assert await leases.take("retention", 60)
    assert not await leases.take("retention", 60)
