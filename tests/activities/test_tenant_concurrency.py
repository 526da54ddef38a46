"""No tenant has more activities than it leaves free for others; one above the limit fails at once, and is retried."""

from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from activities.tenant_concurrency import (
    EXPECTED_DURATION,
    MAX_DELAY,
    MIN_DELAY,
    SPACING,
    TenantConcurrency,
    TenantLoad,
    TenantLoads,
)
from hookkeeper.error_types import TENANT_AT_LIMIT
from timeouts import FakeClock


def taken(concurrency: TenantConcurrency, tenants: str, *, queue: str = "q") -> str:
    """Return the tenants that find a slot, one after the other, while all before them hold theirs."""

    def take() -> str:
        found = ""
        with ExitStack() as stack:
            for tenant in tenants:
                try:
                    stack.enter_context(concurrency.slot(tenant))
                except ApplicationError:
                    continue
                found += tenant
        return found

    environment = ActivityEnvironment()
    environment.info = replace(environment.info, task_queue=queue)
    return environment.run(take)


@pytest.mark.parametrize(
    ("total", "per_tenant", "found"),
    [(1, 9, "a"), (2, 9, "ab"), (8, 9, "aaaabbc"), (8, 2, "aabbc"), (100, 1, "abc")],
)
def test_a_tenant_leaves_slots_for_others(total: int, per_tenant: int, found: str) -> None:
    concurrency = TenantConcurrency(total, per_tenant)
    assert taken(concurrency, "aaaaaaabbbbbbc") == found
    assert taken(concurrency, "aaaaaaabbbbbbc") == found  # all were given back


def test_each_queue_has_slots_of_its_own() -> None:
    concurrency = TenantConcurrency(2, 2)
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, task_queue="one")

    def take() -> str:
        with concurrency.slot("a"):
            return taken(concurrency, "a", queue="one") + taken(concurrency, "a", queue="two")

    assert environment.run(take) == "a"


def test_an_activity_above_the_limit_is_retried_later() -> None:
    concurrency = TenantConcurrency(1, 1)

    def take() -> None:
        with concurrency.slot("a"), concurrency.slot("a"):
            pass

    with pytest.raises(ApplicationError) as raised:
        ActivityEnvironment().run(take)
    assert raised.value.type == TENANT_AT_LIMIT
    assert raised.value.category == ApplicationErrorCategory.BENIGN
    assert delay(raised.value) == pytest.approx(MIN_DELAY + SPACING * EXPECTED_DURATION, abs=0.1)


def delay(error: ApplicationError) -> float:
    assert error.next_retry_delay is not None
    return error.next_retry_delay.total_seconds()


def test_refused_activities_are_retried_one_after_the_other() -> None:
    load = TenantLoad(FakeClock())
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(load.counted())
        delays = [delay(load.refusal("full")) for _ in range(100)]
    assert delays == pytest.approx([MIN_DELAY + n * SPACING * EXPECTED_DURATION / 50 for n in range(1, 101)])


@pytest.mark.parametrize("has_ended", [False, True], ids=["under way", "ended"])
def test_activities_that_take_long_space_the_next_tries(has_ended: bool) -> None:
    """50 activities of 30 s free 1.7 slots a second: no more than about that many tries a second are worth while."""
    clock = FakeClock()
    load = TenantLoad(clock)
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(load.counted())
        clock.now += 30
        if has_ended:
            stack.pop_all().close()
            for _ in range(50):
                stack.enter_context(load.counted())
        first, second = (delay(load.refusal("full")) for _ in range(2))
    assert second - first == pytest.approx(SPACING * 0.6, rel=0.01)


def test_any_number_of_waiting_activities_try_again_in_time() -> None:
    """Timeline: 10,000 find no slot. Proves: none waits without end, and they do not all return at once."""
    load = TenantLoad(FakeClock())
    delays = [delay(load.refusal("full")) for _ in range(10_000)]
    assert max(delays) <= MAX_DELAY
    late = sorted(delays)[1000:]
    assert late[0] >= MAX_DELAY / 2
    assert late[len(late) // 2] == pytest.approx(MAX_DELAY * 0.75, rel=0.1)


def test_a_tenant_without_activities_takes_no_memory() -> None:
    loads = TenantLoads()
    with loads.counted("a"), loads.counted("b"):
        assert (loads.of("a").count, loads.of("b").count) == (1, 1)
    assert loads._loads == {}


@pytest.mark.parametrize(("attempt", "gets_a_slot"), [(1, False), (2, True)], ids=["new", "retried"])
def test_new_activities_leave_slots_to_those_that_were_refused(attempt: int, gets_a_slot: bool) -> None:
    """Setup: one activity of ten was refused; two of the ten have ended. Proves: a new one does not overtake it."""
    concurrency = TenantConcurrency(100, 10)
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=attempt)

    def take() -> None:
        with ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(concurrency.slot("a"))
            with concurrency.slot("a"), concurrency.slot("a"), suppress(ApplicationError), concurrency.slot("a"):
                pytest.fail("eleven have a slot")
            stack.enter_context(concurrency.slot("a"))

    if gets_a_slot:
        environment.run(take)
    else:
        with pytest.raises(ApplicationError) as refused:
            environment.run(take)
        assert refused.value.type == TENANT_AT_LIMIT


def test_an_activity_for_several_tenants_takes_one_slot_and_counts_for_each() -> None:
    """Setup: ten slots, of which a tenant may have two. Proves: five activities for three tenants take five slots."""
    concurrency = TenantConcurrency(10, 2)
    environment = ActivityEnvironment()

    def parts() -> list[str]:
        refused = []
        with ExitStack() as stack:
            for _ in range(5):
                part = stack.enter_context(concurrency.shared_slot())
                for tenant in ("a", "b", "c"):
                    try:
                        stack.enter_context(part(tenant))
                    except ApplicationError:
                        refused.append(tenant)
            with concurrency.slot("d"), concurrency.slot("d"):
                return refused

    assert environment.run(parts) == ["a", "b", "c"] * 3
    assert environment.run(parts) == ["a", "b", "c"] * 3, "all slots were given back"
