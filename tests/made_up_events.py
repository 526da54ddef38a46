"""Reports of many mixed events, for comparisons of filters."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import get_args

from hookkeeper.kinds import Channel
from hookkeeper.messages.event import NEED_ATTENTION, Attempt, Delivery, event_status
from hookkeeper.messages.run_report import RunReport
from hookkeeper.statuses import DeliveryStatus
from reports import reported

BEGIN = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
"""Half an hour before the end of a partition."""
TENANTS, TYPES = ("a", "b"), ("order.paid", "order.sent", "user.new")
WEBHOOKS = {"a": ("wh_1", "wh_2", "wh_3"), "b": ("wh_4",)}
CHANNELS: tuple[Channel, ...] = ("webhook", "email")
ERRORS = ("http_500", "http_503", "http_404", "timeout", "smtp_550")
EVENTS = 240


def made_up_reports(seed: int, count: int = EVENTS, begin: datetime = BEGIN) -> list[RunReport]:
    """Return the last reports of this many events over an hour; some are accepted in the same microsecond."""
    random = Random(seed)
    return [_report(random, number, begin + timedelta(seconds=random.randrange(3600))) for number in range(count)]


def _report(random: Random, number: int, accepted_at: datetime) -> RunReport:
    tenant = random.choice(TENANTS)
    targets = [(webhook, channel) for webhook in WEBHOOKS[tenant] for channel in CHANNELS]
    deliveries = tuple(
        _delivery(random, webhook, channel, accepted_at)
        for webhook, channel in random.sample(targets, random.randrange(len(targets)))
    )
    status = event_status(deliveries)
    return reported(
        tenant,
        f"e-{number}",
        accepted_at,
        accepted_at + timedelta(minutes=1),
        deliveries,
        type=random.choice(TYPES),
        status=status,
        needs_attention=any(delivery.status in NEED_ATTENTION for delivery in deliveries),
        finished_at=None if status == "delivering" else accepted_at + timedelta(minutes=1),
    )


def _delivery(random: Random, webhook: str, channel: Channel, accepted_at: datetime) -> Delivery:
    status: DeliveryStatus = random.choice((*get_args(DeliveryStatus), "succeeded", "succeeded"))
    errors = [random.choice(ERRORS) for _ in range(0 if status == "pending" else random.randrange(5))]
    results = [*errors, None] if status == "succeeded" else errors
    attempts = tuple(
        Attempt(
            number=number,
            started_at=accepted_at,
            duration_ms=5,
            status_code=200 if error is None else int(error[-3:]) if error[-3:].isdecimal() else None,
            error=error,
        )
        for number, error in enumerate(results, start=1)
    )
    id_ = webhook if channel == "webhook" else f"{webhook}.email.1"
    return Delivery(id=id_, webhook_id=webhook, channel=channel, status=status, attempts=attempts)
