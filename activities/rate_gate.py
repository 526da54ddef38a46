"""When a request to a webhook may be made: now, or at which time, in which queue.

Where Temporal's limited queue keeps the rates, `activities.pacing` says it all. Where timers keep them, a request
reserves its time in the registry, and its run waits for that time with a durable timer. So neither a webhook with a
backlog of thousands nor a server without fairness makes another webhook wait.
"""

from datetime import datetime, timedelta

from activities import pacing
from activities.rounds import Order, Round
from hookkeeper.outcomes import Outcome, Slot
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.pacing import rate_of
from hookkeeper.registry.slots import Slots
from hookkeeper.temporal.rate_mode import RateMode

SLOT_TOLERANCE = timedelta(seconds=5)
"""A request that comes later than this after its slot reserves another one; after each missed slot, twice as late.

So what has waited for a worker that was down does not come back all at once, and an overloaded worker, which is late
each time, still gets on."""
MAX_DOUBLINGS = 12


class RateGate:
    """Decides when requests may be made."""

    def __init__(self, slots: Slots, mode: RateMode) -> None:
        self._slots = slots
        self._mode = mode

    async def not_now(self, order: Order, webhook: Webhook, now: datetime, round_: Round) -> Outcome | None:
        """Give the outcome of a request that is not made yet, or None where it may be made. `now` is Temporal's."""
        if self._mode.keeper == "queue":
            return pacing.not_now(order, webhook, now, limited=round_.limited, pace=round_.pace)
        if pacing.goes_at_once(order, webhook):
            return None
        rate = pacing.rate_now(webhook, now)
        if rate is None or _is_on_time(order.slot, webhook, now, rate):
            return None
        earliest = max(now, webhook.throttled_until or now)
        slot = await self._reserve(order, webhook, earliest, rate, is_late=order.slot is not None)
        return pacing.deferred(order, webhook, rate, slot=slot, now=now) if slot.at > now else None

    async def crowded_out(
        self, order: Order, webhook: Webhook, now: datetime, at_most: int, *, limited: bool
    ) -> Outcome:
        """Give the outcome of a request that found `at_most` others under way to its webhook."""
        if self._mode.keeper == "queue":
            return pacing.crowded_out(order, webhook, at_most, limited=limited)
        rate = pacing.crowded_rate(webhook, at_most)
        earliest = now + timedelta(seconds=1) if limited else now
        slot = await self._reserve(order, webhook, earliest, rate, is_late=False)
        return pacing.deferred(order, webhook, rate, slot=slot, now=now)

    async def no_place(self, order: Order, webhook: Webhook, now: datetime) -> Outcome:
        """Give the outcome of a request for which its tenant's limits left no place."""
        if self._mode.keeper == "queue":
            return pacing.no_place(order, webhook)
        rate = rate_of(webhook) or pacing.COMES_BACK
        slot = await self._reserve(order, webhook, now + timedelta(seconds=1), rate, is_late=False)
        return pacing.deferred(order, webhook, rate, slot=slot, now=now)

    async def _reserve(self, order: Order, webhook: Webhook, earliest: datetime, rate: float, *, is_late: bool) -> Slot:
        at = await self._slots.reserve(webhook.id, earliest, rate)
        missed = order.slot.missed if order.slot else 0
        return Slot(at=at, rate=rate, missed=missed + is_late)


def _is_on_time(slot: Slot | None, webhook: Webhook, now: datetime, rate: float) -> bool:
    """Say whether the request has a slot that still counts: not missed, and not of a rate that has been lowered."""
    if slot is None or slot.rate > rate or pacing.is_throttled(webhook, now):
        return False
    tolerance = max(SLOT_TOLERANCE, timedelta(seconds=1 / slot.rate)) * 2.0 ** min(slot.missed, MAX_DOUBLINGS)
    return bool(now <= slot.at + tolerance)
