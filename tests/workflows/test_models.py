"""What a run shows stays small whatever happens, and an event's status follows from its deliveries."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hookkeeper.messages.event import Attempt, Delivery, EventState, Receipt, event_status
from hookkeeper.state_size import STORED_BYTES, stored, truncated
from hookkeeper.statuses import EventStatus
from hookkeeper.temporal.server.data_converter import data_converter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 512 * 1024
CONVERTER = data_converter().payload_converter


def delivery(n: int, attempts: int, excerpt: str) -> Delivery:
    return Delivery(
        id=f"wh_{n:024d}",
        webhook_id=f"wh_{n:024d}",
        target="https://receiver.example/" + "p" * 2000,
        status="failed",
        reason="exhausted",
        receipts=tuple(
            Receipt(id="i" * 100, attempt=n, address="a" * 200, kind="deferred", at=NOW, detail="é" * 256)
            for n in range(attempts)
        ),
        attempts=tuple(
            Attempt(
                number=number,
                started_at=NOW,
                duration_ms=12345.6,
                queue_ms=12345.6,
                connect_ms=12345.6,
                first_byte_ms=12345.6,
                status_code=500,
                error="http_500",
                request_digest="x" * 45,
                response_headers={"server": "nginx", "x-long": excerpt[: len(excerpt) // 3], "x-last": "yes"},
                response_excerpt=excerpt,
            )
            for number in range(1, attempts + 1)
        ),
    )


def size(deliveries: tuple[Delivery, ...]) -> int:
    """Return the bytes of the state with these deliveries, as it is written to history."""
    state = EventState(
        id="evt_1",
        type="order.paid",
        tenant="acme",
        timestamp=NOW,
        status="failed",
        accepted_at=NOW,
        deliveries=deliveries,
    )
    (payload,) = CONVERTER.to_payloads([state])
    return len(payload.data)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    targets=st.integers(0, 900),  # a run has a hundred; of a thousand in ten runs, no payload but an answer is made
    attempts=st.integers(0, 50),
    excerpt=st.sampled_from(["", "x" * 4096, "é" * 2048, '"' * 4096, "\t\n" * 2048, "�" * 1300]),
)
def test_a_state_stays_under_512_kib(targets: int, attempts: int, excerpt: str) -> None:
    shown = truncated(tuple(delivery(n, attempts, excerpt) for n in range(targets)))
    assert size(shown) < LIMIT
    assert len(shown) == targets
    for delivery_ in shown:
        assert delivery_.attempts_made == attempts
        if delivery_.attempts:
            assert delivery_.attempts[-1].number == attempts, "the latest attempts are the ones shown"


def test_a_small_state_is_shown_whole() -> None:
    small = (delivery(1, 10, "x" * 4096), delivery(2, 1, "y" * 4096))
    assert truncated(small) == small


def test_truncating_twice_changes_nothing_more() -> None:
    once = truncated(tuple(delivery(n, 20, "z" * 4096) for n in range(100)))
    assert truncated(once) == once


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "no_webhook"),
        (["succeeded", "succeeded"], "succeeded"),
        (["succeeded", "failed", "cancelled"], "failed"),
        (["succeeded", "cancelled"], "cancelled"),
        (["succeeded", "pending"], "delivering"),
        (["failed", "retrying"], "delivering"),
        (["held"], "delivering"),
    ],
)
def test_the_status_of_an_event_follows_from_its_deliveries(statuses: list[str], expected: EventStatus) -> None:
    deliveries = tuple(
        Delivery.model_validate({"id": f"wh_{n}", "webhook_id": f"wh_{n}", "status": status})
        for n, status in enumerate(statuses)
    )
    assert event_status(deliveries) == expected
    waiting = expected == "delivering"
    assert event_status(deliveries, scheduled=True) == ("scheduled" if waiting else expected)


@pytest.mark.parametrize("attempts", [0, 1, 3, 50, 200])
def test_a_row_has_the_latest_attempts_of_a_delivery(attempts: int) -> None:
    whole = delivery(1, attempts, "é" * 1024)
    text = stored(whole)
    kept = Delivery.model_validate_json(text)
    assert len(text) <= STORED_BYTES or len(kept.attempts) == 1
    assert (kept.attempts_made, bool(kept.attempts)) == (attempts, attempts > 0)
    assert kept.attempts == whole.attempts[attempts - len(kept.attempts) :]
    assert kept.model_dump(exclude={"attempts", "attempts_omitted", "receipts"}) == whole.model_dump(
        exclude={"attempts", "attempts_omitted", "receipts"}
    )
