"""Events that wait for a start: which of them share the next one."""

from datetime import UTC, datetime

import pytest

from hookkeeper.messages.batch import BatchResult
from hookkeeper.messages.event import Delivery, EventInput, event_state
from hookkeeper.messages.outcomes import Outcome, excerpt_limit, headers_limit
from hookkeeper.messages.shared_run import SharedRunResult
from hookkeeper.search_attributes import LISTED_BYTES, fitting_ids
from hookkeeper.services.starts.queue import MAX_EVENT_BYTES, MAX_SHARED_BYTES, Expected, NewRun, StartQueue
from hookkeeper.temporal.server.data_converter import data_converter
from workflows.retry import with_attempt

CONVERTER = data_converter().payload_converter
MAX_PAYLOAD = 2 * 1024 * 1024
"""Bytes that Temporal accepts."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new(
    event_id: str,
    tenant: str = "acme",
    size: int = 100,
    deliveries: tuple[Delivery, ...] = (),
    *,
    expected: Expected = "quick",
) -> NewRun:
    event = EventInput(
        id=event_id, type="a", tenant=tenant, timestamp=NOW, data=None, accepted_at=NOW, deliveries=deliveries
    )
    return NewRun(event, event.model_dump_json(), size, expected)


def waiting(queue: StartQueue, *runs: NewRun) -> tuple[NewRun, ...]:
    for run in runs:
        queue.put(run)
    return runs


def taken(queue: StartQueue) -> list[str]:
    return [each.event.id for each in queue.take()]


async def test_tenants_take_turns() -> None:
    """A tenant with many events leaves as many places to another as that one needs."""
    queue = StartQueue(max_events=4)
    waiting(queue, *(new(f"a{n}") for n in range(6)), *(new(f"b{n}", "other") for n in range(2)), new("c", "third"))
    assert queue.is_full
    assert taken(queue) == ["a0", "b0", "c", "a1"]
    assert taken(queue) == ["b1", "a2", "a3", "a4"]
    assert not queue.is_full
    assert taken(queue) == ["a5"]
    assert not queue
    assert taken(queue) == []


async def test_slow_events_share_with_their_tenant_only() -> None:
    queue = StartQueue(max_events=4)
    slow = [new(f"s{n}", expected="slow") for n in range(5)]
    waiting(queue, new("a"), *slow, new("b", "other"), new("t", "other", expected="slow"), new("c"))
    assert taken(queue) == ["a", "b", "c"]
    group = queue.take()
    assert [each.event.id for each in group] == ["s0", "s1", "s2", "s3"]
    assert taken(queue) == ["t"]
    assert taken(queue) == [], "the first start of that tenant has not ended"
    queue.end(group)
    assert taken(queue) == ["s4"]
    assert not queue


async def test_events_of_webhooks_that_have_not_succeeded_yet_share_with_each_other() -> None:
    queue = StartQueue(max_events=4)
    untried = [new(f"n{n}", f"tenant{n}", expected="unknown") for n in range(3)]
    waiting(queue, new("a"), *untried, new("s", "other", expected="slow"), new("m", "tenant0", expected="unknown"))
    assert taken(queue) == ["a"]
    group = queue.take()
    assert [each.event.id for each in group] == ["n0", "n1", "n2", "m"]
    waiting(queue, new("n3", "tenant3", expected="unknown"), new("n4", "tenant0", expected="unknown"))
    assert taken(queue) == ["s"]
    assert taken(queue) == ["n3"], "the first start of the other tenant has not ended"
    queue.end(group)
    assert taken(queue) == ["n4"]


async def test_a_request_that_gives_up_leaves_the_queue() -> None:
    queue = StartQueue(max_events=4)
    first, second, third = waiting(queue, new("a"), new("b"), new("c", "other"))
    for each in (first, third, third):
        queue.remove(each)
    assert len(queue) == 1
    assert queue.take() == [second]
    queue.remove(second)
    assert len(queue) == 0


async def test_a_shared_run_has_a_maximum_of_bytes() -> None:
    queue = StartQueue(max_events=100)
    waiting(queue, *(new(f"e{n}", size=MAX_SHARED_BYTES // 10) for n in range(15)))
    assert len(taken(queue)) == 10
    assert len(taken(queue)) == 5
    deliveries = tuple(Delivery(id=f"wh_{n}", webhook_id=f"wh_{n}", target="x" * 1000) for n in range(100))
    waiting(queue, *(new(f"e{n}", deliveries=deliveries) for n in range(10)))
    sizes = []
    while queue:
        sizes.append(sum(len(each.event.model_dump_json()) for each in queue.take()))
    assert max(sizes) <= MAX_SHARED_BYTES


async def test_a_shared_run_lists_all_its_events_in_its_search_attribute() -> None:
    queue = StartQueue(max_events=100)
    waiting(queue, *(new(f"{n:0>128}") for n in range(60)))
    while queue:
        group = taken(queue)
        assert fitting_ids(group) == sorted(group)
    waiting(queue, *(new(f"evt_{n:0>24}") for n in range(60)))
    assert len(taken(queue)) >= 50
    assert LISTED_BYTES < 2048


@pytest.mark.parametrize(
    ("run", "is_plain"),
    [
        (new("none"), True),
        (new("plain", deliveries=(Delivery(id="wh", webhook_id="wh"),)), True),
        (new("large", size=MAX_EVENT_BYTES + 1), False),
        (new("rate", deliveries=(Delivery(id="wh", webhook_id="wh", rate=5),)), False),
        (new("degraded", deliveries=(Delivery(id="wh", webhook_id="wh", degraded=True),)), False),
        (new("ordered", deliveries=(Delivery(id="wh", webhook_id="wh", ordered="block"),)), False),
        (new("email", deliveries=(Delivery(id="wh.1", webhook_id="wh", channel="email"),)), False),
        (new("many", deliveries=tuple(Delivery(id=f"wh{n}", webhook_id=f"wh{n}") for n in range(101))), False),
    ],
    ids=lambda part: part.event.id if isinstance(part, NewRun) else "",
)
def test_only_small_plain_events_may_share_a_run(run: NewRun, is_plain: bool) -> None:
    assert run.is_plain() is is_plain


async def test_the_results_of_a_full_run_fit_into_payloads() -> None:
    """A run has as many deliveries as possible, and each receiver sends back as much text as is kept."""
    queue = StartQueue(max_events=1000)
    targets = tuple(
        Delivery(id=f"wh_{n:024d}", webhook_id=f"wh_{n:024d}", target="https://a.example/") for n in range(100)
    )
    waiting(queue, *(new(f"e{n}", size=60, deliveries=targets) for n in range(10)))
    run = [waiting.event for waiting in queue.take()]
    count = sum(len(event.deliveries) for event in run)
    assert count >= 400
    outcome = Outcome(
        delivery=targets[0].id,
        verdict="succeeded",
        target="https://a.example/",
        started_at=NOW,
        duration_ms=12345.6,
        connect_ms=12345.6,
        first_byte_ms=12345.6,
        request_digest="x" * 45,
        response_headers={"x": '"' * (headers_limit(count) - 7)},
        response_excerpt='"' * excerpt_limit(count),
    )
    made = tuple(with_attempt(target, outcome, "scheduled", NOW) for target in targets)
    together = BatchResult(outcomes=tuple((outcome,) * len(event.deliveries) for event in run))
    finished = SharedRunResult(finished=tuple(event_state(event, made, deliver_at=None) for event in run))
    for payload in CONVERTER.to_payloads([together, finished]):
        assert len(payload.data) < MAX_PAYLOAD


URL, DEGRADED = Delivery(id="u", webhook_id="u"), Delivery(id="d", webhook_id="d", degraded=True)
EMAIL = Delivery(id="e", webhook_id="e", channel="email")


@pytest.mark.parametrize(
    ("deliveries", "expected", "activities"),
    [
        ((), "quick", 0),
        ((URL,) * 10, "quick", 1),
        ((URL,) * 10, "unknown", 10),
        ((URL,) * 10, "slow", 10),
        ((URL, URL, EMAIL, EMAIL), "quick", 3),
        ((EMAIL,), "quick", 1),
        ((URL, DEGRADED), "quick", 2),
    ],
)
def test_quick_urls_count_as_one_activity_and_other_deliveries_as_one_each(
    deliveries: tuple[Delivery, ...], expected: Expected, activities: int
) -> None:
    assert new("a", deliveries=deliveries, expected=expected).activities == activities
