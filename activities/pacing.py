"""Whether a webhook takes a request now, or how long it takes none. Pure, but for the spread of what comes back."""

import random
from datetime import datetime

from activities.rounds import Order
from hookkeeper.outcomes import BUSY_STATUS_CODES, Outcome, Slot
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.pacing import rate_of

COMES_BACK = 10.0
"""Requests a second in which what waited for a busy receiver comes back: however much that is, nobody else waits."""
BUSY_SECONDS = 5.0
"""A receiver that is busy, and does not say until when, is left alone so long; twice as long each time in a row."""
MAX_BUSY_SECONDS = MAX_SPREAD = 60.0
DOUBLED_AT_MOST = 4


def not_now(
    order: Order, webhook: Webhook, now: datetime, *, limited: bool, pace: float | None = None
) -> Outcome | None:
    """Give the outcome of a request that is not made yet, or None where it may be made.

    `limited`: it came through the queue that keeps the webhook's rate, at `pace` requests a second. Where the webhook
    takes fewer by now, it waits again: thousands may be on their way. What a person asks for is made at once, and what
    somebody wants to send again while the webhook is off as well: if it waited, it would be held.
    """
    if goes_at_once(order, webhook):
        return None
    rate = rate_now(webhook, now)
    if rate is None:
        return None
    if webhook.throttled_until and is_throttled(webhook, now):
        return deferred(order, webhook, rate, wait=_spread((webhook.throttled_until - now).total_seconds()))
    if limited and (pace is None or pace <= rate):
        return None
    return deferred(order, webhook, rate)


def goes_at_once(order: Order, webhook: Webhook) -> bool:
    """Say whether a person wants the request made whatever the webhook's rate."""
    return order.at_once or _wanted_while_off(order, webhook)


def is_throttled(webhook: Webhook, now: datetime) -> bool:
    """Say whether the webhook wants no requests at the moment."""
    return webhook.throttled_until is not None and now < webhook.throttled_until


def rate_now(webhook: Webhook, now: datetime) -> float | None:
    """Give the requests a second that the webhook takes, also of those that come back to a busy one; None: any."""
    return rate_of(webhook) or (COMES_BACK if is_throttled(webhook, now) else None)


def crowded_rate(webhook: Webhook, at_most: int) -> float:
    """Give the requests a second in which what found `at_most` others under way comes back."""
    return rate_of(webhook) or float(at_most)


def _wanted_while_off(order: Order, webhook: Webhook) -> bool:
    is_off = not webhook.enabled or webhook.paused_at is not None
    return is_off and order.trigger == "manual" and not order.waited


def deferred(
    order: Order,
    webhook: Webhook,
    rate: float,
    *,
    wait: float = 0.0,
    slot: Slot | None = None,
    now: datetime | None = None,
) -> Outcome:
    """Give the outcome of a request that is made later: after `wait` seconds, or in its slot."""
    if slot and now:
        wait = max(0.0, (slot.at - now).total_seconds())
    return Outcome(
        delivery=order.delivery, verdict="deferred", target=webhook.target, rate=rate, retry_after=wait, slot=slot
    )


def _spread(wait: float) -> float:
    """Give up to twice the wait, and a minute more at most: all that waits must not come back at once."""
    return wait + random.uniform(0, min(max(wait, 1.0), MAX_SPREAD))  # noqa: S311


def throttled_for(webhook: Webhook | None, outcome: Outcome) -> float:
    """Give the seconds for which the webhook takes no requests after such an answer; 0 is none.

    `webhook` is as it was before. Where nobody says how long, its own policy may be shorter by choice.
    """
    asked = outcome.retry_after or 0.0
    if outcome.status_code not in BUSY_STATUS_CODES:
        return asked
    in_a_row = webhook.failures or 0 if webhook else 0
    ours = BUSY_SECONDS * 2.0 ** min(in_a_row, DOUBLED_AT_MOST)
    return max(asked, min(ours, MAX_BUSY_SECONDS, *(outcome.delays or ())))


def crowded_out(order: Order, webhook: Webhook, at_most: int, *, limited: bool) -> Outcome:
    """Give the outcome of a request that found `at_most` others under way to its webhook.

    It waits in the limited queue, which lets as many through in a second, or as many as the webhook takes: an endpoint
    that is slow keeps its pace, and one that hangs is degraded by the time that its first requests have timed out.
    What came from there (`limited`) comes back after a second or two: where the server lets all through, it would not
    wait at all.
    """
    return deferred(order, webhook, crowded_rate(webhook, at_most), wait=_spread(1.0) if limited else 0.0)


def no_place(order: Order, webhook: Webhook) -> Outcome:
    """Give the outcome of a request for which its tenant's limits left no place within the time a request may wait."""
    return deferred(order, webhook, rate_of(webhook) or COMES_BACK, wait=_spread(1.0))
