"""When the next attempt comes. Pure: the schedule of a delivery can be read, and tested, without a clock."""

from hookkeeper.outcomes import BUSY_STATUS_CODES, MAX_RETRY_AFTER, Outcome
from hookkeeper.policy import DEFAULT_SCHEDULE, MINUTE

MAX_JITTER = 0.10


def next_delay(own_delays: tuple[float, ...] | None, steps_taken: int, outcome: Outcome, jitter: float) -> float | None:
    """Give the seconds to wait before the next scheduled attempt, or None when the schedule is used up.

    `own_delays` are the webhook's own; without, the default schedule holds. `steps_taken` counts the scheduled attempts
    made so far, from 1. `jitter` is a random number in [0, 1): it only ever adds, at most 10 %. `Retry-After` can
    lengthen a step, to at most 24 h. A receiver that says it is busy is left alone for a minute, unless the webhook
    chose its own, shorter policy.
    """
    delays = DEFAULT_SCHEDULE if own_delays is None else own_delays
    if steps_taken > len(delays):
        return None
    step = delays[steps_taken - 1]
    if own_delays is None and outcome.status_code in BUSY_STATUS_CODES:
        step = max(step, MINUTE)
    hint = min(outcome.retry_after or 0.0, MAX_RETRY_AFTER)
    return max(step * (1 + MAX_JITTER * jitter), hint)
