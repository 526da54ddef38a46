"""When may a request to a webhook be made: now, or at which time, through which queue?

If Temporal's rate-limited queue keeps the rates, `activities.pacing` decides alone. If timers keep them, a request
reserves its time in the registry, and its run waits for that time with a durable timer. So neither a webhook with a
backlog of thousands nor a server without fairness delays another webhook.
"""

from datetime import datetime, timedelta

from activities import pacing
from activities.webhook_concurrency import WebhookConcurrency
from hookkeeper.messages.batch import AttemptRequest, DeliveryBatch
from hookkeeper.outcomes import Outcome, ReservedTime
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.reserved_times import ReservedTimes
from hookkeeper.temporal.rate_mode import RateMode

TOLERANCE = timedelta(seconds=5)
"""A request that is later than this after its reserved time reserves another one; twice as late after each missed one.

So requests that waited for a worker that was down do not return all at once, and an overloaded worker, which is late
each time, still makes progress."""
MAX_DOUBLINGS = 12


class RateGate:
    """Defers requests that may not be made now."""

    def __init__(self, times: ReservedTimes, mode: RateMode, max_concurrent: int) -> None:
        """`max_concurrent`: requests to one webhook at once in this process."""
        self._times = times
        self._mode = mode
        self.concurrency = WebhookConcurrency(max_concurrent)

    async def defer_by_rate(
        self, request: AttemptRequest, webhook: Webhook, now: datetime, batch: DeliveryBatch
    ) -> Outcome | None:
        """Return the outcome of a request that has to wait for the webhook's rate, or None if it may be made now.

        `now` is Temporal's time.
        """
        if self._mode.keeper == "queue":
            return pacing.defer_by_rate(request, webhook, now, batch.pace)
        if pacing.ignores_rate(request, webhook):
            return None
        rate = pacing.rate_now(webhook, now)
        if rate is None or _is_on_time(request.slot, webhook, now, rate):
            return None
        earliest = max(now, webhook.throttled_until or now)
        reserved = await self._reserve(request, webhook, earliest, rate, is_late=_is_late(request.slot, now))
        return _deferred_to(reserved, request, webhook, now) if reserved.at > now else None

    async def defer_by_concurrency(
        self, request: AttemptRequest, webhook: Webhook, now: datetime, *, limited: bool
    ) -> Outcome:
        """Return the outcome of a request that exceeds the concurrency limit of its webhook.

        Such requests return at as many a second as the webhook accepts, or takes: a slow endpoint keeps its pace, and
        one that hangs is degraded when its first requests have timed out. A request that came from the
        rate-limited queue (`limited`) returns after a second or two: a server without fairness would let it through at
        once.
        """
        rate = webhook.current_rate or self.concurrency.pace(webhook.id)
        return await self._defer(request, webhook, now, rate, wait=1.0 if limited else 0.0)

    async def defer_by_tenant(self, request: AttemptRequest, webhook: Webhook, now: datetime) -> Outcome:
        """Return the outcome of a request that its tenant's limits prevented."""
        return await self._defer(request, webhook, now, webhook.current_rate or pacing.RETURN_RATE, wait=1.0)

    async def _defer(
        self, request: AttemptRequest, webhook: Webhook, now: datetime, rate: float, *, wait: float
    ) -> Outcome:
        """Defer a request by at least so many seconds."""
        if self._mode.keeper == "queue":
            return pacing.deferred(request, webhook, rate, wait=pacing.spread(wait) if wait else 0.0)
        reserved = await self._reserve(request, webhook, now + timedelta(seconds=wait), rate, is_late=False)
        return _deferred_to(reserved, request, webhook, now)

    async def _reserve(
        self, request: AttemptRequest, webhook: Webhook, earliest: datetime, rate: float, *, is_late: bool
    ) -> ReservedTime:
        at = await self._times.reserve(webhook.id, earliest, rate)
        missed = request.slot.missed if request.slot else 0
        return ReservedTime(at=at, rate=rate, missed=missed + is_late)


def _deferred_to(reserved: ReservedTime, request: AttemptRequest, webhook: Webhook, now: datetime) -> Outcome:
    wait = max(0.0, (reserved.at - now).total_seconds())
    return pacing.deferred(request, webhook, reserved.rate, wait=wait, slot=reserved)


def _is_on_time(reserved: ReservedTime | None, webhook: Webhook, now: datetime, rate: float) -> bool:
    """Return whether the reserved time still counts: it is not missed, and the rate has not been lowered since."""
    if reserved is None or reserved.rate > rate or pacing.is_throttled(webhook, now):
        return False
    return not _is_late(reserved, now)


def _is_late(reserved: ReservedTime | None, now: datetime) -> bool:
    """Return whether the reserved time is missed."""
    if reserved is None:
        return False
    tolerance = max(TOLERANCE, timedelta(seconds=1 / reserved.rate)) * 2.0 ** min(reserved.missed, MAX_DOUBLINGS)
    return bool(now > reserved.at + tolerance)
