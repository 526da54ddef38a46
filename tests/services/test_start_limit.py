"""How many events a tenant may be starting at once, beside others and alone."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from hookkeeper.services.starts import limit as start_limit
from hookkeeper.services.starts.limit import ACTIVE_TIME, MANY, TROUBLE_TIME, RecentTenants, StartLimit

TOTAL = 32


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr(start_limit, "monotonic", clock)
        yield clock


def after_slow_starts(limit: StartLimit, clock: Clock, starts: int = 20) -> None:
    """Timeline: one start is fast, for comparison, and the others are slow."""
    for seconds in (0.01, *(0.2,) * starts):
        clock.now += seconds
        limit.note_start(seconds)


async def granted(limit: StartLimit, tenant: str, wanted: int = TOTAL) -> int:
    """Return how many of this many events of a tenant get a slot while none of them ends."""
    count, go_on = 0, asyncio.Event()

    async def start() -> None:
        nonlocal count
        async with limit.slot(tenant):
            count += 1
            await go_on.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(wanted):
            group.create_task(start())
        for _ in range(wanted):
            await asyncio.sleep(0)
        found = count
        go_on.set()
    return found


async def test_a_tenant_alone_has_half_of_the_slots_however_slow_starts_are(clock: Clock) -> None:
    limit = StartLimit(TOTAL, RecentTenants())
    after_slow_starts(limit, clock)
    assert await granted(limit, "acme") == TOTAL // 2


async def test_a_tenant_beside_others_has_fewer_slots_while_starts_are_slow(clock: Clock) -> None:
    limit = StartLimit(TOTAL, RecentTenants())
    async with limit.slot("other"):
        pass
    assert await granted(limit, "acme") == TOTAL // 2
    after_slow_starts(limit, clock)
    assert await granted(limit, "acme", 2) == 1


async def test_a_tenant_whose_events_need_no_slot_is_active_for_all_limits(clock: Clock) -> None:
    active = RecentTenants()
    own, shared = StartLimit(TOTAL, active), StartLimit(TOTAL, active, only_in_trouble=True)
    async with shared.slot("other"):
        pass
    after_slow_starts(own, clock)
    assert await granted(own, "acme", 2) == 1


async def test_a_tenant_is_alone_again_some_time_after_the_last_event_of_others(clock: Clock) -> None:
    limit = StartLimit(TOTAL, RecentTenants())
    async with limit.slot("other"):
        pass
    after_slow_starts(limit, clock)
    assert await granted(limit, "acme", 2) == 1
    clock.now += ACTIVE_TIME + 1
    assert await granted(limit, "acme") == TOTAL // 2


async def test_a_limit_for_tenants_in_trouble_lets_all_others_pass(clock: Clock) -> None:
    limit = StartLimit(TOTAL, RecentTenants(), only_in_trouble=True)
    async with limit.slot("other"):
        pass
    after_slow_starts(limit, clock)
    assert await granted(limit, "acme") == TOTAL
    limit.note_trouble("acme")
    assert await granted(limit, "acme", 2) == 1
    assert await granted(limit, "other") == TOTAL
    clock.now += ACTIVE_TIME + 1
    async with limit.slot("other"):
        pass
    assert await granted(limit, "acme", 2) == 1
    clock.now += TROUBLE_TIME + 1
    assert await granted(limit, "acme") == TOTAL


async def test_one_start_of_a_shared_run_counts_for_each_of_its_events(clock: Clock) -> None:
    alone, together = StartLimit(TOTAL, RecentTenants()), StartLimit(TOTAL, RecentTenants())
    for limit in (alone, together):
        async with limit.slot("other"):
            pass
    after_slow_starts(alone, clock, 3)
    after_slow_starts(together, clock, 0)
    together.note_start(0.5, events=3)
    assert await granted(alone, "acme") == await granted(together, "acme") < TOTAL // 2


@pytest.mark.parametrize(
    ("others", "activities", "rest"),
    [(MANY - 1, 1, 0.0), (MANY, 0, 0.04), (MANY, 1, 0.04), (MANY, 5, 0.2), (MANY, 1000, 0.3)],
)
async def test_the_slot_of_a_busy_tenant_rests(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, others: int, activities: int, rest: float
) -> None:
    """Setup: Temporal is slow. Timeline: a start of an event with several activities takes 20 ms; others of its tenant
    wait.
    """
    rests: list[float] = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def spy(delay: float, callback: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
        if arguments == ("acme",):
            rests.append(delay)
        return call_later(delay, callback, *arguments)

    monkeypatch.setattr(loop, "call_later", spy)
    monkeypatch.setattr(start_limit, "MAX_REST", 0.3)
    limit = StartLimit(TOTAL, RecentTenants())
    after_slow_starts(limit, clock)
    async with limit.slot("other"):
        pass
    begun = asyncio.Event()

    async def wait() -> None:
        async with limit.slot("acme"):
            begun.set()

    async with asyncio.TaskGroup() as group:
        async with limit.slot("acme", activities):
            for _ in range(others):
                group.create_task(wait())
            await asyncio.sleep(0)
            clock.now += 0.02
        for _ in range(5):
            await asyncio.sleep(0)
        assert begun.is_set() is (rest == 0)
        await begun.wait()
        assert rests[0] == pytest.approx(rest)
        clock.now += ACTIVE_TIME + 1
