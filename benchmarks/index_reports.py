"""Reports of made-up events over 30 days, as runs would have made them, of several tenants, webhooks and types."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random

from hookkeeper.kinds import Channel
from hookkeeper.messages.event import Attempt, Delivery, Reason
from hookkeeper.messages.rows import EventRow
from hookkeeper.messages.run_report import RunReport
from hookkeeper.statuses import DeliveryStatus, EventStatus

DAYS = 30
TENANTS = 20
WEBHOOKS = 5
"""Webhooks of each tenant; the fifth one fails often."""
TYPES = tuple(
    f"{noun}.{verb}" for noun in ("order", "invoice", "customer") for verb in ("created", "changed", "closed")
)
WAITS = (5, 300, 1800, 7200)
"""Seconds between attempts."""
ERRORS = ("http_500", "http_503", "http_404", "timeout", "connection_refused", "tls")
OPEN_STATUSES: tuple[DeliveryStatus, ...] = ("retrying", "held")


def tenant_name(number: int) -> str:
    return f"tenant-{number:02}"


def webhook_id(tenant: int, number: int) -> str:
    return f"wh_{tenant:010x}{number:010x}"


def reports(count: int, until: datetime) -> Iterator[RunReport]:
    """Yield the last report of this many events, in the order of their acceptance; the last of them at `until`."""
    random = Random(1)
    period = timedelta(days=DAYS)
    for number in range(count):
        yield _report(random, until - period * (1 - (number + 1) / count), until)


def _report(random: Random, accepted_at: datetime, until: datetime) -> RunReport:
    tenant = min(int(random.expovariate(0.25)), TENANTS - 1)
    numbers = random.sample(range(WEBHOOKS), random.choice((1, 1, 1, 2)))
    deliveries = tuple(_delivery(random, webhook_id(tenant, n), n, accepted_at, until) for n in numbers)
    status = _status(deliveries)
    is_closed = status != "delivering"
    ends = [a.started_at for delivery in deliveries for a in delivery.attempts]
    end = max(ends, default=accepted_at) + timedelta(milliseconds=50)
    event = EventRow(
        tenant=tenant_name(tenant),
        id=f"evt_{random.getrandbits(96):024x}",
        type=random.choice(TYPES),
        accepted_at=accepted_at,
        as_of=end,
        status=status,
        needs_attention=any(delivery.status in ("failed", *OPEN_STATUSES) for delivery in deliveries),
        run_id=f"019b7c3a-7d2e-7c55-{random.getrandbits(16):04x}-{random.getrandbits(48):012x}",
        digest=f"{random.getrandbits(256):064x}",
        size=random.randrange(100, 5000),
        finished_at=end if is_closed else None,
    )
    return RunReport(event, deliveries)


def _delivery(random: Random, webhook: str, number: int, accepted_at: datetime, until: datetime) -> Delivery:
    """Return a delivery whose attempts fail with a share of 3 %, or 60 % at a webhook that fails often."""
    failures = 0.6 if number == WEBHOOKS - 1 else 0.03
    attempts: list[Attempt] = []
    started_at = accepted_at + timedelta(milliseconds=random.uniform(10, 60))
    for wait in (*WAITS, None):
        attempts.append(_attempt(random, len(attempts) + 1, started_at, is_failed=random.random() < failures))
        if attempts[-1].error is None or wait is None:
            break
        started_at += timedelta(seconds=wait)
        if started_at > until:
            return _built(webhook, number, random.choice(OPEN_STATUSES), attempts, next_attempt_at=started_at)
    if attempts[-1].error is None:
        return _built(webhook, number, "succeeded", attempts)
    return _built(webhook, number, "failed", attempts, reason="exhausted")


def _built(
    webhook: str,
    number: int,
    status: DeliveryStatus,
    attempts: list[Attempt],
    *,
    reason: Reason | None = None,
    next_attempt_at: datetime | None = None,
) -> Delivery:
    channel: Channel = "email" if number == 1 else "webhook"
    return Delivery(
        id=webhook if channel == "webhook" else f"{webhook}.email.1",
        webhook_id=webhook,
        channel=channel,
        status=status,
        reason=reason,
        attempts=tuple(attempts),
        next_attempt_at=next_attempt_at,
    )


def _attempt(random: Random, number: int, started_at: datetime, *, is_failed: bool) -> Attempt:
    error = random.choice(ERRORS) if is_failed else None
    code = 200 if error is None else int(error.removeprefix("http_")) if error.startswith("http_") else None
    duration = 15_000.0 if error == "timeout" else random.lognormvariate(4, 1)
    return Attempt(number=number, started_at=started_at, duration_ms=duration, status_code=code, error=error)


def _status(deliveries: tuple[Delivery, ...]) -> EventStatus:
    statuses = {delivery.status for delivery in deliveries}
    if statuses & set(OPEN_STATUSES):
        return "delivering"
    return "failed" if "failed" in statuses else "succeeded"
