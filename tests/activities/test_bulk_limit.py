"""Bulk work has fewer runs at a time while Temporal is slow."""

import asyncio

import pytest

from activities.bulk_limit import MIN_PER_TENANT, BulkLimit
from hookkeeper.tenant_limits import BULK_RUNS


def slots_of(limit: BulkLimit, tenant: str) -> int:
    """Take all slots that the tenant can have, and return their number."""
    count = 0
    while limit.acquire_now(tenant):
        count += 1
    return count


@pytest.mark.parametrize(
    ("seconds", "slots"),
    [((), BULK_RUNS.most), ((0.05,) * 50, BULK_RUNS.most), ((0.05, *(0.5,) * 50), MIN_PER_TENANT)],
    ids=["new", "fast", "slow"],
)
def test_a_tenant_has_as_many_as_temporal_manages(seconds: tuple[float, ...], slots: int) -> None:
    limit = BulkLimit()
    for duration in seconds:
        limit.record(duration)
    assert slots_of(limit, "busy") == slots
    assert slots_of(limit, "other") >= min(slots, BULK_RUNS.most // 2)


async def test_who_waits_comes_first() -> None:
    limit = BulkLimit()
    held = slots_of(limit, "acme")
    waiting = asyncio.create_task(limit.acquire("acme"))
    await asyncio.sleep(0)
    limit.release("acme")
    assert not limit.acquire_now("acme")
    await waiting
    limit.release("acme", held)
    assert slots_of(limit, "acme") == BULK_RUNS.most
