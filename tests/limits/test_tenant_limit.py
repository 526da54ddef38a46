"""Slots: a busy tenant delays only itself, and no slot is lost or granted twice."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from cases import each
from hookkeeper.limits import TenantLimit, TooManyWaiting


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class SlotUsers:
    """Tenants that acquire slots, and the slots that they hold."""

    def __init__(self, slots: int) -> None:
        self.limit = TenantLimit(slots)
        self.having: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.end = asyncio.Event()

    async def want(self, tenant: str) -> asyncio.Task[None]:
        async def use() -> None:
            await self.limit.acquire(tenant)
            self.having.append(tenant)

        task = asyncio.create_task(use())
        await settle()
        return task

    async def done(self, tenant: str) -> None:
        self.having.remove(tenant)
        self.limit.release(tenant)
        await settle()


@each(("slots", "alone"), [(1, 1), (2, 1), (3, 2), (4, 2), (16, 8), (32, 16)])
async def test_a_tenant_alone_leaves_room_for_others(slots: int, alone: int) -> None:
    users = SlotUsers(slots)
    for _ in range(40):
        await users.want("a")
    assert users.having == ["a"] * alone
    await users.want("b")
    assert users.having.count("b") == (slots > 1)


async def test_a_release_costs_no_more_if_many_tenants_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    fits = TenantLimit._fits

    def counted(*args: Any) -> bool:
        nonlocal looked_at
        looked_at += 1
        return fits(*args)

    users = SlotUsers(2)
    for number in range(200):
        await users.want(f"tenant{number}")
    monkeypatch.setattr(TenantLimit, "_fits", counted)
    await users.done(users.having[0])
    assert users.having == ["tenant1", "tenant2"]
    assert looked_at <= 2


async def test_a_single_slot_is_shared_in_turn() -> None:
    users = SlotUsers(1)
    for tenant in "aaabbc":
        await users.want(tenant)
    order = ""
    while users.having:
        order += users.having[0]
        await users.done(users.having[0])
    assert order == "aabcab"


async def test_a_tenant_without_slots_is_served_before_one_with_some() -> None:
    users = SlotUsers(3)
    for tenant in "aaaabc":
        await users.want(tenant)
    assert Counter(users.having) == {"a": 2, "b": 1}
    await users.done("a")
    assert Counter(users.having) == {"a": 1, "b": 1, "c": 1}
    await users.done("b")
    await users.done("c")
    assert Counter(users.having) == {"a": 2}


async def test_a_request_that_gives_up_gets_no_slot() -> None:
    users = SlotUsers(1)
    await users.want("a")
    first, second, third = [await users.want("b") for _ in range(3)]
    first.cancel()
    await users.done("a")
    assert users.having == ["b"]
    assert second.done()
    third.cancel()
    await users.done("b")
    await users.want("b")
    assert users.having == ["b"]


async def test_a_slot_granted_during_cancellation_is_not_lost() -> None:
    users = SlotUsers(1)
    await users.want("a")
    waiting = await users.want("b")
    users.limit.release("a")
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    await users.want("c")
    assert users.having == ["a", "c"]


async def test_no_slot_is_lost_whatever_happens() -> None:
    chance = random.Random(4)
    limit = TenantLimit(5)
    using, most = Counter[str](), 0

    async def use(tenant: str) -> None:
        nonlocal most
        async with limit.slot(tenant):
            using[tenant] += 1
            most = max(most, using.total())
            try:
                await asyncio.sleep(chance.choice([0, 0, 0.001]))
            finally:
                using[tenant] -= 1

    tasks = []
    for number in range(2000):
        tasks.append(asyncio.create_task(use(chance.choice("aaaaaabbc"))))
        if number % 7 == 0:
            chance.choice(tasks).cancel()
        if number % 5 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 5
    async with limit.slot("a"), limit.slot("a"), limit.slot("a"), limit.slot("b"), limit.slot("c"):
        pass  # all five are there again


async def test_waiting_is_limited_for_each_tenant() -> None:
    """Timeline: two wait, a third is refused; one gives up. Proves: its position is free, others are not counted."""
    limit = TenantLimit(per_tenant=1, max_waiting=2)
    await limit.acquire("a")
    first, second = [asyncio.create_task(limit.acquire("a")) for _ in range(2)]
    await settle()
    with pytest.raises(TooManyWaiting):
        await limit.acquire("a")
    await limit.acquire("b")
    first.cancel()
    await settle()
    third = asyncio.create_task(limit.acquire("a"))
    await settle()
    assert (limit.held("a"), limit.waiting("a"), limit.held("b")) == (1, 2, 1)
    for waiting in (second, third):
        limit.release("a")
        await waiting
    limit.release("a")
    assert (limit.held("a"), limit.waiting("a")) == (0, 0)
