"""Which deliveries go in which part: this must not change."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookkeeper.messages.event import Delivery, EventInput
from hookkeeper.messages.partition import PART, partition, parts_of
from hookkeeper.statuses import DeliveryStatus

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
