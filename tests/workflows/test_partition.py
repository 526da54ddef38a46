"""Which deliveries go in which part: this must not change."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookkeeper.messages.event import Attempt, Delivery, DeliveryStatus, EventInput, EventState, EventStatus
from hookkeeper.partition import PART, partition, parts_of
from hookkeeper.temporal.events.own_runs import merged

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def of_webhooks(*sizes: int, status: DeliveryStatus = "pending") -> list[Delivery]:
    """Return the deliveries of webhooks that have this many targets each."""
    return [
        Delivery(id=f"wh_{n}.email.{target}", webhook_id=f"wh_{n}", status=status)
        for n, size in enumerate(sizes)
        for target in range(size)
    ]


@given(st.lists(st.integers(1, 21), max_size=60))
def test_parts_keep_order_and_webhooks_together(sizes: list[int]) -> None:
    deliveries = of_webhooks(*sizes)
    parts = partition(deliveries)
    assert [delivery for part in parts for delivery in part] == deliveries
    assert all(len(part) <= PART for part in parts)
    assert len(parts) == 1 or all(len(part) > PART - 21 for part in parts[:-1])
    webhooks = [webhook_id for part in parts for webhook_id in {delivery.webhook_id for delivery in part}]
    assert len(webhooks) == len(set(webhooks)), "no webhook is in two parts"


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], [0]),
        ([1] * 100, [100]),
        ([1] * 101, [100, 1]),
        ([1] * 250, [100, 100, 50]),
        ([11] * 10, [99, 11]),
        ([50, 51, 49], [50, 100]),
        ([230], [100, 100, 30]),
        ([1, 230], [1, 100, 100, 30]),
    ],
)
def test_the_partition_is_permanent(sizes: list[int], parts: list[int]) -> None:
    assert [len(part) for part in partition(of_webhooks(*sizes))] == parts


def test_the_first_run_of_an_event_has_all_deliveries_and_begins_with_its_own() -> None:
    event = EventInput(
        id="e", type="t", tenant="a", timestamp=NOW, accepted_at=NOW, deliveries=tuple(of_webhooks(100, 50))
    )
    first, second = parts_of(event)
    assert (len(first.deliveries), len(second.deliveries), first.parts, second.parts) == (100, 50, 2, 2)
    assert first.deliveries + second.deliveries == event.deliveries
    assert parts_of(second) == [second], "a sibling has none, and neither has a run for a redelivery"


def part(status: EventStatus, *deliveries: Delivery, deliver_at: datetime | None = None) -> EventState:
    about = {"id": "e", "type": "t", "tenant": "a", "timestamp": NOW, "accepted_at": NOW}
    return EventState(**about, status=status, deliveries=deliveries, deliver_at=deliver_at)


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        (["succeeded", "succeeded"], "succeeded"),
        (["succeeded", "failed", "cancelled"], "failed"),
        (["succeeded", "cancelled"], "cancelled"),
        (["failed", "pending"], "delivering"),
    ],
)
def test_the_status_of_a_large_event_follows_from_its_parts(parts: list[DeliveryStatus], status: EventStatus) -> None:
    event = EventInput(id="e", type="t", tenant="a", timestamp=NOW, accepted_at=NOW)
    states = [part("delivering", *of_webhooks(2, status=part_status)) for part_status in parts]
    whole = merged(event, states, NOW)
    assert (whole.status, len(whole.deliveries), whole.finished_at) == (status, 2 * len(parts), NOW)


def test_a_large_event_is_scheduled_until_a_part_begins() -> None:
    event = EventInput(id="e", type="t", tenant="a", timestamp=NOW, accepted_at=NOW)
    cancelled = part("cancelled", *of_webhooks(1, status="cancelled"), deliver_at=NOW)
    moved = part("scheduled", *of_webhooks(1), deliver_at=NOW.replace(year=2027))
    begun = part("delivering", *of_webhooks(1))
    assert merged(event, [cancelled, moved], None).status == "scheduled"
    assert merged(event, [cancelled, moved], None).deliver_at == moved.deliver_at
    assert merged(event, [begun, moved], None).status == "delivering"


def test_the_state_of_a_large_event_stays_under_its_limit() -> None:
    event = EventInput(id="e", type="t", tenant="a", timestamp=NOW, accepted_at=NOW)
    attempts = tuple(Attempt(number=n, started_at=NOW, duration_ms=1, response_excerpt="x" * 1000) for n in range(1, 6))
    few, many = (
        [
            part("succeeded", *(delivery.model_copy(update={"attempts": attempts}) for delivery in of_webhooks(size)))
            for _ in range(10)
        ]
        for size in (3, 100)
    )
    assert {len(delivery.attempts) for delivery in merged(event, few, None).deliveries} == {5}
    whole = merged(event, many, None)
    assert len(whole.model_dump_json()) < 512 * 1024
    assert {delivery.attempts_made for delivery in whole.deliveries} == {5}
