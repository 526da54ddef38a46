"""The memory that tenants may use for requests: bounded for each, left free for others, and all of it given back."""

import asyncio

import pytest

from activities.memory_budget import MemoryBudget
from hookkeeper.egress.request_state import LocalLimitReached


class MemoryUsers:
    """Blocks that want memory, and those of them that have it."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.having: list[str] = []
        self._tasks: list[tuple[asyncio.Task[None], asyncio.Event]] = []

    async def want(self, name: str, size: int) -> int:
        """Request memory for the tenant of the name's first letter; return the number of the block."""
        end = asyncio.Event()

        async def use() -> None:
            async with self.budget.reserved(name[0], size):
                self.having.append(name)
                await end.wait()
                self.having.remove(name)

        self._tasks.append((asyncio.create_task(use()), end))
        await settle()
        return len(self._tasks) - 1

    async def end(self, number: int) -> None:
        self._tasks[number][1].set()
        await settle()

    async def cancel(self, number: int) -> None:
        self._tasks[number][0].cancel()
        await settle()

    async def end_all(self) -> None:
        for _, end in self._tasks:
            end.set()
        await asyncio.gather(*(task for task, _ in self._tasks), return_exceptions=True)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_tenant_leaves_memory_for_others() -> None:
    users = MemoryUsers(MemoryBudget(16))
    for tenant in "abcd":
        for _ in range(10):
            await users.want(tenant, 1)
    assert users.having == ["a"] * 8 + ["b"] * 4 + ["c"] * 2 + ["d"]
    assert users.budget.held == 15
    await users.end_all()
    assert users.budget.held == 0


async def test_waiting_requests_are_served_in_order_and_delay_no_other_tenant() -> None:
    users = MemoryUsers(MemoryBudget(16))
    first = await users.want("a1", 6)
    await users.want("a2", 6)
    await users.want("a3", 1)
    await users.want("b1", 2)
    assert users.having == ["a1", "b1"]
    await users.end(first)
    assert users.having == ["b1", "a2", "a3"]
    await users.end_all()


async def test_a_cancelled_request_lets_the_next_pass() -> None:
    users = MemoryUsers(MemoryBudget(16))
    first = await users.want("a1", 6)
    large = await users.want("a2", 6)
    await users.want("a3", 1)
    await users.cancel(large)
    assert users.having == ["a1", "a3"]
    await users.end(first)
    await users.end_all()
    assert users.budget.held == 0


async def test_a_request_over_the_whole_budget_runs_alone() -> None:
    users = MemoryUsers(MemoryBudget(16))
    huge = await users.want("a1", 1000)
    await users.want("a2", 1)
    assert users.having == ["a1"]
    await users.end(huge)
    assert users.having == ["a2"]
    await users.end_all()


async def test_unneeded_memory_is_freed_at_once() -> None:
    budget = MemoryBudget(16)
    users = MemoryUsers(budget)
    async with budget.reserved("a", 8) as reservation:
        await users.want("a1", 4)
        assert users.having == []
        reservation.shrink_to(4)
        reservation.shrink_to(6)  # never more than before
        await settle()
        assert users.having == ["a1"]
        assert budget.held == 8
    await users.end_all()
    assert budget.held == 0


async def test_the_wait_for_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookkeeper.egress.request_state.SLOT_TIMEOUT", 0.05)
    budget = MemoryBudget(16)
    async with budget.reserved("a", 8):
        with pytest.raises(LocalLimitReached, match="8 of 8 bytes"):
            async with budget.reserved("a", 1):
                pass
        with pytest.raises(LocalLimitReached), budget.reserved_now("a", 1):
            pass
        async with budget.reserved("b", 1):
            assert budget.held == 9
    assert budget.held == 0
