"""Turns: nobody's many wishes hold up another, and none is lost or given twice."""

import asyncio
import random
from collections import Counter

import pytest

from hookkeeper.limits.turns import Turns


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Users:
    """Those who want turns, and what they have."""

    def __init__(self, slots: int) -> None:
        self.turns = Turns(slots)
        self.having: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.end = asyncio.Event()

    async def want(self, tenant: str) -> asyncio.Task[None]:
        async def use() -> None:
            await self.turns.take(tenant)
            self.having.append(tenant)

        task = asyncio.create_task(use())
        await settle()
        return task

    async def done(self, tenant: str) -> None:
        self.having.remove(tenant)
        self.turns.give_back(tenant)
        await settle()


@pytest.mark.parametrize(("slots", "alone"), [(1, 1), (2, 1), (3, 2), (4, 2), (16, 8), (32, 16)])
async def test_a_tenant_alone_leaves_room_for_others(slots: int, alone: int) -> None:
    users = Users(slots)
    for _ in range(40):
        await users.want("a")
    assert users.having == ["a"] * alone
    await users.want("b")
    assert users.having.count("b") == (slots > 1)


async def test_one_slot_goes_from_tenant_to_tenant() -> None:
    users = Users(1)
    for tenant in "aaabbc":
        await users.want(tenant)
    order = ""
    while users.having:
        order += users.having[0]
        await users.done(users.having[0])
    assert order == "aabcab"


async def test_who_holds_more_comes_after_who_holds_none() -> None:
    users = Users(3)
    for tenant in "aaaabc":
        await users.want(tenant)
    assert Counter(users.having) == {"a": 2, "b": 1}
    await users.done("a")
    assert Counter(users.having) == {"a": 1, "b": 1, "c": 1}
    await users.done("b")
    await users.done("c")
    assert Counter(users.having) == {"a": 2}


async def test_who_gives_up_gets_no_turn() -> None:
    users = Users(1)
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


async def test_a_turn_that_comes_as_somebody_gives_up_is_not_lost() -> None:
    users = Users(1)
    await users.want("a")
    waiting = await users.want("b")
    users.turns.give_back("a")
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    await users.want("c")
    assert users.having == ["a", "c"]


async def test_no_turn_is_lost_whatever_happens() -> None:
    chance = random.Random(4)
    turns = Turns(5)
    using, most = Counter[str](), 0

    async def use(tenant: str) -> None:
        nonlocal most
        async with turns.of(tenant):
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
    async with turns.of("a"), turns.of("a"), turns.of("a"), turns.of("b"), turns.of("c"):
        pass  # all five are there again
