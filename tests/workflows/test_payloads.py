"""Payloads have no defaults, and come back as they were."""

from datetime import UTC, datetime

import pytest

from hookkeeper.messages import Message
from hookkeeper.messages.batch import AttemptRequest, BatchResult, DeliveryBatch, EventAttempts
from hookkeeper.messages.event import Delivery, EventInput
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.temporal.server.data_converter import data_converter

NOW = datetime(2026, 1, 2, 9, tzinfo=UTC)
ID = "wh_b3g96mvetcmr"
EVENT = {"id": "evt_d56c8a129f710055f3813686", "type": "order.paid", "tenant": "acme", "timestamp": NOW, "data": {}}
TARGET = "https://acme.example/hook"
MESSAGES: list[tuple[Message, int]] = [
    (
        EventInput(
            **EVENT,
            accepted_at=NOW,
            deliver_at=None,
            deliveries=(Delivery(id=ID, webhook_id=ID, channel="webhook", target=TARGET, rate=None, ordered=None),),
            max_hold=2592000.0,
        ),
        290,
    ),
    (
        DeliveryBatch(
            events=(
                EventAttempts(
                    **EVENT, attempts=(AttemptRequest(delivery=ID, webhook_id=ID, number=1, immediate=False),)
                ),
            )
        ),
        230,
    ),
    (
        BatchResult(
            outcomes=(
                (
                    Outcome(
                        delivery=ID,
                        verdict="succeeded",
                        target=TARGET,
                        started_at=NOW,
                        duration_ms=3.8,
                        status_code=200,
                        response_excerpt="ok",
                        retry_after=None,
                    ),
                ),
            )
        ),
        210,
    ),
]


@pytest.mark.parametrize(("message", "most_bytes"), MESSAGES, ids=lambda value: type(value).__name__)
def test_a_payload_leaves_defaults_out(message: Message, most_bytes: int) -> None:
    converter = data_converter().payload_converter
    (payload,) = converter.to_payloads([message])
    assert len(payload.data) <= most_bytes
    assert b"null" not in payload.data
    assert converter.from_payloads([payload], [type(message)]) == [message]


def test_values_that_are_no_messages_are_kept() -> None:
    converter = data_converter().payload_converter
    values = [None, b"bytes", {"a": None, "b": [0, "", False]}, NOW]
    payloads = converter.to_payloads(values)
    assert converter.from_payloads(payloads, [type(None), bytes, dict, datetime]) == values
