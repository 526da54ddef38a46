"""For how long a webhook accepts no requests after an outcome."""

from collections.abc import Callable

import pytest

from activities.health import throttled_for
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.registry.models import Webhook

Make = Callable[..., Webhook]


def answer(status: int | None, retry_after: float | None = None, delays: tuple[float, ...] | None = None) -> Outcome:
    return Outcome(delivery="wh_1", verdict="failed", status_code=status, retry_after=retry_after, delays=delays)


@pytest.mark.parametrize(
    ("outcome", "failures", "seconds"),
    [
        (answer(500), 7, 0),
        (answer(None), 7, 0),
        (answer(503), 0, 0),
        (answer(503, 30), 0, 30),  # on any status
        (answer(429), None, 5),
        (answer(502), 1, 10),
        (answer(504), 2, 20),
        (answer(429), 3, 40),
        (answer(429), 4, 60),
        (answer(429), 1_000_000, 60),
        (answer(429, 30), 0, 30),
        (answer(429, 2), 0, 5),
        (answer(429, 86400), 4, 86400),
        (answer(429, None, (0.5, 300)), 4, 0.5),  # its policy is shorter by choice
        (answer(429, 30, (0.5, 300)), 4, 30),
        (answer(429, None, ()), 0, 5),
        (answer(429, None, (300,)), 4, 60),
    ],
)
def test_a_busy_answer_throttles_the_webhook_for_its_time(
    make_webhook: Make, outcome: Outcome, failures: int | None, seconds: float
) -> None:
    webhook = make_webhook()
    webhook.url_failures = failures
    assert throttled_for(webhook, outcome) == seconds
    if not failures:
        assert throttled_for(None, outcome) == seconds
