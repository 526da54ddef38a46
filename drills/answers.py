"""How receivers answer. Pure: the seed, the event and the number of its requests decide."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

HANG = 2.6
"""Seconds that a request hangs before its connection is dropped: longer than the webhook's timeout."""
WEBHOOK_TIMEOUT = 2
"""Seconds; the timeout of the webhooks of a drill."""
SLOW = (0.05, 0.4)
QUICK = (0.0, 0.03)


@dataclass(frozen=True, slots=True)
class PlannedAnswer:
    """How to answer a request. `status` None: close the connection without an answer."""

    status: int | None
    delay: float
    how: Literal["drop", "reset"] = "drop"


Answers = Callable[[str, int], PlannedAnswer]
"""Returns the answer to the n-th request of an event, counted from 1."""


def always(status: int, delay: float = 0.0) -> Answers:
    return lambda event_id, number: PlannedAnswer(status, delay)


def after_one_failure(delay: float = 0.0) -> Answers:
    """Accept all but the first request of each event."""
    return lambda event_id, number: PlannedAnswer(503 if number == 1 else 200, delay)


def failing(seed: int, part: float) -> Answers:
    """Fail this part of the requests, at random, and none of them slowly."""

    def answer(event_id: str, number: int) -> PlannedAnswer:
        return PlannedAnswer(503 if Random(f"{seed} {event_id} {number}").random() < part else 200, 0.0)

    return answer


def steady(seed: int, event_id: str, number: int) -> PlannedAnswer:
    """Accept everything, some of it slowly."""
    random = Random(f"{seed} steady {event_id} {number}")
    return PlannedAnswer(200, random.uniform(*(SLOW if random.random() < 0.2 else QUICK)))


def flaky(seed: int, event_id: str, number: int) -> PlannedAnswer:
    """Accept two thirds; fail, hang or reset the rest. `number` counts the event's requests from 1."""
    random = Random(f"{seed} flaky {event_id} {number}")
    draw, delay = random.random(), random.uniform(*SLOW)
    if draw < 0.65:
        return PlannedAnswer(200, delay)
    if draw < 0.85:
        return PlannedAnswer(random.choice((500, 503)), delay)
    if draw < 0.90:
        return PlannedAnswer(None, HANG)
    return PlannedAnswer(None, delay, "reset")
