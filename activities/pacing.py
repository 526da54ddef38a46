"""Whether a webhook accepts a request now, and when otherwise. Pure, except for random delays."""

import random
from datetime import datetime

from hookkeeper.messages.batch import AttemptRequest
from hookkeeper.outcomes import BUSY_STATUS_CODES, Outcome, ReservedTime
from hookkeeper.registry.models import Webhook

RETURN_RATE = 10.0
"""Requests a second at which deferred requests return to a receiver that was busy: other webhooks do not have to wait
for them, however many they are."""
BUSY_SECONDS = 5.0
"""A busy receiver that does not say until when gets no requests for this time, twice as long each time in a row."""
MAX_BUSY_SECONDS = MAX_SPREAD_SECONDS = 60.0
MAX_DOUBLINGS = 4


def defer_by_rate(request: AttemptRequest, webhook: Webhook, now: datetime, pace: float | None) -> Outcome | None:
    """Return the outcome of a request that has to wait for the webhook's rate, or None if it may be made now.

    `pace`: requests a second of the rate-limited queue through which it came; None: it came through another one. If the
    webhook accepts fewer now, it waits again, as thousands may be in that queue. Requested attempts do not wait.
    """
    if ignores_rate(request, webhook):
        return None
    rate = rate_now(webhook, now)
    if rate is None:
        return None
    if webhook.throttled_until and is_throttled(webhook, now):
        return deferred(request, webhook, rate, wait=spread((webhook.throttled_until - now).total_seconds()))
    if pace is not None and pace <= rate:
        return None
    return deferred(request, webhook, rate)


def ignores_rate(request: AttemptRequest, webhook: Webhook) -> bool:
    """Return whether the request is made now, whatever the webhook's rate: it is immediate, or it was requested while
    the webhook is off, and would be held if it waited.
    """
    is_off = not webhook.enabled or webhook.paused_at is not None
    return request.immediate or (is_off and request.trigger == "manual" and not request.postponed)


def is_throttled(webhook: Webhook, now: datetime) -> bool:
    """Return whether the webhook accepts no requests for the moment."""
    return webhook.throttled_until is not None and now < webhook.throttled_until


def rate_now(webhook: Webhook, now: datetime) -> float | None:
    """Return the requests a second that the webhook accepts, also of those that return; None: any number."""
    return webhook.current_rate or (RETURN_RATE if is_throttled(webhook, now) else None)


def deferred(
    request: AttemptRequest, webhook: Webhook, rate: float, *, wait: float = 0.0, slot: ReservedTime | None = None
) -> Outcome:
    """Return the outcome of a request that is made later: after `wait` seconds, or at its reserved time."""
    return Outcome(
        delivery=request.delivery,
        verdict="deferred",
        target=webhook.target,
        rate=rate,
        degraded=webhook.is_degraded,
        retry_after=wait,
        slot=slot,
    )


def throttled_for(webhook: Webhook | None, outcome: Outcome) -> float:
    """Return the seconds for which the webhook accepts no requests after this outcome; 0 is none.

    `webhook` is as it was before. If the receiver does not say how long, the webhook's own retry policy may be shorter.
    """
    requested = outcome.retry_after or 0.0
    if outcome.status_code not in BUSY_STATUS_CODES:
        return requested
    in_a_row = webhook.failures or 0 if webhook else 0
    backoff = BUSY_SECONDS * 2.0 ** min(in_a_row, MAX_DOUBLINGS)
    return max(requested, min(backoff, MAX_BUSY_SECONDS, *(outcome.delays or ())))


def spread(wait: float) -> float:
    """Return up to twice the wait, at most a minute more, so that requests do not return all at once."""
    return wait + random.uniform(0, min(max(wait, 1.0), MAX_SPREAD_SECONDS))  # noqa: S311
