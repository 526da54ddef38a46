"""When may a request to a webhook be made: now, or at which time?

A request that has to wait reserves its time in the registry, and its run waits for that time with a durable timer. So a
rate counts across all workers, and a webhook with a backlog of thousands delays no other one. Requests that a busy
worker makes late catch up one after the other.
"""

import asyncio
from datetime import datetime, timedelta

from activities.webhook_concurrency import WebhookConcurrency
from hookkeeper.messages.batch import AttemptRequest
from hookkeeper.messages.outcomes import Outcome, ReservedTime
from hookkeeper.registry.models import HANGING_RATE, Webhook
from hookkeeper.registry.webhooks.health import HealthStore
from hookkeeper.registry.webhooks.reserved_times import ReservedTimes

RETURN_RATE = 10.0
"""Requests a second at which deferred requests return to a receiver that was busy, or to a tenant's limit."""
TENANT_WAIT = timedelta(seconds=1)
"""Until the first of those that a tenant's limit has deferred returns."""
TOLERANCE = timedelta(seconds=5)
"""A request that is later than this after its reserved time reserves another one; twice as late after each missed one.

So requests that waited for a worker that was down do not return all at once, and an overloaded worker, which is late
each time, still makes progress."""
MAX_DOUBLINGS = 12
CATCH_UP = 2.0
"""Times its rate at which a webhook gets requests that are late, from one process."""
MAX_PAUSE = timedelta(seconds=1)
"""Time that a request waits in its activity, at most."""
MAX_PACED = 1000
"""Webhooks whose latest request is remembered."""


class RateGate:
    """Defers requests that may not be made now. `now` is Temporal's time."""

    def __init__(self, times: ReservedTimes, health: HealthStore, max_concurrent: int) -> None:
        """`max_concurrent`: requests to one webhook at once in this process."""
        self._times = times
        self._health = health
        self._next: dict[str, datetime] = {}
        """When this process may make the next request to a webhook with a rate."""
        self.concurrency = WebhookConcurrency(max_concurrent)

    async def defer_by_rate(self, request: AttemptRequest, webhook: Webhook, now: datetime) -> Outcome | None:
        """Return the outcome of a request that has to wait for the webhook's rate, or None if it may be made now."""
        rate = rate_now(webhook, now)
        if rate is None or ignores_rate(request, webhook):
            return None
        reserved = request.slot
        if reserved is None or not is_on_time(reserved, webhook, now, rate):
            earliest = max(now, webhook.throttled_until or now)
            reserved = await self._reserve(request, webhook, earliest, rate, is_late=is_late(reserved, now))
            if reserved.at > now:
                return _deferred(request, webhook, reserved)
        at = max(now, self._next.get(webhook.id, now))
        if at > now + MAX_PAUSE:
            return _deferred(request, webhook, reserved.model_copy(update={"at": at}))
        self._keep(webhook.id, at + timedelta(seconds=1 / (CATCH_UP * rate)), now)
        await asyncio.sleep((at - now).total_seconds())
        return None

    def _keep(self, webhook_id: str, following: datetime, now: datetime) -> None:
        if len(self._next) >= MAX_PACED:
            self._next = {id_: at for id_, at in self._next.items() if at > now}
        self._next[webhook_id] = following

    async def defer_by_concurrency(self, request: AttemptRequest, webhook: Webhook, now: datetime) -> Outcome:
        """Return the outcome of a request that exceeds the concurrency limit of its webhook.

        Such requests return at as many a second as the webhook accepts, or takes: a slow endpoint keeps its pace. One
        that hangs is slowed down before its first requests have timed out: until it answers, new events wait for their
        times without an attempt.
        """
        pace = self.concurrency.pace(webhook.id)
        if self.concurrency.hangs(webhook.id):
            pace = min(pace, HANGING_RATE)
            if not webhook.is_hanging:
                await self._health.note_hanging(webhook.id)
        return await self._defer(request, webhook, now, pace)

    async def defer_by_tenant(self, request: AttemptRequest, webhook: Webhook, now: datetime) -> Outcome:
        """Return the outcome of a request that its tenant's limits prevented."""
        return await self._defer(request, webhook, now + TENANT_WAIT, RETURN_RATE)

    async def _defer(self, request: AttemptRequest, webhook: Webhook, earliest: datetime, rate: float) -> Outcome:
        rate = min(rate, webhook.current_rate or rate)
        return _deferred(request, webhook, await self._reserve(request, webhook, earliest, rate, is_late=False))

    async def _reserve(
        self, request: AttemptRequest, webhook: Webhook, earliest: datetime, rate: float, *, is_late: bool
    ) -> ReservedTime:
        at = await self._times.reserve(webhook.id, earliest, rate)
        missed = request.slot.missed if request.slot else 0
        return ReservedTime(at=at, rate=rate, missed=missed + is_late)


def _deferred(request: AttemptRequest, webhook: Webhook, reserved: ReservedTime) -> Outcome:
    return Outcome(
        delivery=request.delivery,
        verdict="deferred",
        target=webhook.target,
        degraded=webhook.is_hanging,
        slot=reserved,
    )


def rate_now(webhook: Webhook, now: datetime) -> float | None:
    """Return the requests a second that the webhook accepts, also of those that return; None: any number."""
    return webhook.current_rate or (RETURN_RATE if _is_throttled(webhook, now) else None)


def ignores_rate(request: AttemptRequest, webhook: Webhook) -> bool:
    """Return whether the request is made now, whatever the webhook's rate: it is immediate, or it was requested while
    the webhook is off, and would be held if it waited.
    """
    is_off = not webhook.enabled or webhook.paused_at is not None
    return request.immediate or (is_off and request.trigger == "manual" and not request.postponed)


def is_on_time(reserved: ReservedTime | None, webhook: Webhook, now: datetime, rate: float) -> bool:
    """Return whether the reserved time still counts: it is not missed, and the rate has not been lowered since."""
    if reserved is None or reserved.rate > rate or _is_throttled(webhook, now):
        return False
    return not is_late(reserved, now)


def is_late(reserved: ReservedTime | None, now: datetime) -> bool:
    """Return whether the reserved time is missed."""
    if reserved is None:
        return False
    tolerance = max(TOLERANCE, timedelta(seconds=1 / reserved.rate)) * 2.0 ** min(reserved.missed, MAX_DOUBLINGS)
    return bool(now > reserved.at + tolerance)


def _is_throttled(webhook: Webhook, now: datetime) -> bool:
    """Return whether the webhook accepts no requests for the moment."""
    return webhook.throttled_until is not None and now < webhook.throttled_until
