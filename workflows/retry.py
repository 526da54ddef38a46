"""When is the next attempt? Pure: the schedule of a delivery can be read, and tested, without a clock."""

from datetime import datetime, timedelta
from typing import Any

from hookkeeper.messages.event import Attempt, Delivery, Trigger
from hookkeeper.messages.outcomes import BUSY_STATUS_CODES, MAX_RETRY_AFTER, Outcome
from hookkeeper.policy import DEFAULT_SCHEDULE, MINUTE

MAX_JITTER = 0.10
MIN_RECHECK_INTERVAL, MAX_RECHECK_INTERVAL = timedelta(hours=1), timedelta(days=1)
"""A delivery that is held by its webhook rechecks it after the first of these, as a release can have missed it, and
then after twice as long each time, up to the second."""
MAX_ATTEMPTS_KEPT = 200
"""Attempts that a run keeps in memory for one delivery; history has all of them."""


def next_delay(own_delays: tuple[float, ...] | None, steps_taken: int, outcome: Outcome, jitter: float) -> float | None:
    """Return the seconds before the next scheduled attempt, or None if the schedule is used up.

    `own_delays` are the webhook's own; None is the default schedule. `steps_taken` counts the scheduled attempts made
    so far, from 1. `jitter` is a random number in [0, 1): it only adds, at most 10 %. `Retry-After` can lengthen a
    step, to at most 24 h. A busy receiver is left alone for a minute, unless the webhook has a shorter policy of its
    own.
    """
    delays = DEFAULT_SCHEDULE if own_delays is None else own_delays
    if steps_taken > len(delays):
        return None
    step = delays[steps_taken - 1]
    if own_delays is None and outcome.status_code in BUSY_STATUS_CODES:
        step = max(step, MINUTE)
    hint = min(outcome.retry_after or 0.0, MAX_RETRY_AFTER)
    return max(step * (1 + MAX_JITTER * jitter), hint)


def use_step(delivery: Delivery, outcome: Outcome, now: datetime, jitter: float) -> dict[str, Any]:
    """Return the changes after a scheduled attempt has failed."""
    steps = delivery.steps_taken + 1
    delay = next_delay(outcome.delays, steps, outcome, jitter)
    due = None if delay is None else now + timedelta(seconds=delay)
    return {"steps_taken": steps, "next_attempt_at": due, "slot": None}


def put_off(delivery: Delivery, outcome: Outcome, now: datetime) -> dict[str, Any]:
    """Return the changes after a requested attempt has failed: the schedule goes on, but not before `Retry-After`."""
    if not (outcome.retry_after and delivery.next_attempt_at):
        return {}
    earliest = now + timedelta(seconds=outcome.retry_after)
    return {"next_attempt_at": max(earliest, delivery.next_attempt_at)}


def delay_of_recheck(earlier: int) -> timedelta:
    """Return the time before a held delivery rechecks its webhook; `earlier` counts the rechecks since it was held."""
    return min(MIN_RECHECK_INTERVAL * 2.0 ** min(earlier, 10), MAX_RECHECK_INTERVAL)


def with_attempt(delivery: Delivery, outcome: Outcome, trigger: Trigger, due_at: datetime | None) -> Delivery:
    """Add the attempt, which was due at this time; the oldest ones beyond the limit are dropped and counted."""
    assert outcome.started_at is not None
    attempt = Attempt(
        number=delivery.attempts_made + 1,
        trigger=trigger,
        started_at=outcome.started_at,
        duration_ms=outcome.duration_ms,
        queue_ms=_milliseconds_between(due_at, outcome.started_at) if due_at else None,
        connect_ms=outcome.connect_ms,
        first_byte_ms=outcome.first_byte_ms,
        status_code=outcome.status_code,
        error=outcome.error,
        request_digest=outcome.request_digest,
        response_headers=outcome.response_headers,
        response_excerpt=outcome.response_excerpt,
    )
    attempts = (*delivery.attempts, attempt)
    dropped = max(0, len(attempts) - MAX_ATTEMPTS_KEPT)
    return delivery.model_copy(
        update={"attempts": attempts[dropped:], "attempts_omitted": delivery.attempts_omitted + dropped}
    )


def _milliseconds_between(due_at: datetime, started_at: datetime) -> float:
    """Return 0 if the clock of the worker, which starts the attempt, is behind."""
    return max(0.0, round((started_at - due_at) / timedelta(milliseconds=1), 1))
