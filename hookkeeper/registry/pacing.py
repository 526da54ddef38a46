"""The rate and order in which a webhook takes requests at present. Pure."""

from hookkeeper.policy import OrderPolicy
from hookkeeper.registry.models import Webhook

DEGRADED_AFTER = 3
"""Timeouts in a row."""
DEGRADED_RATE = 2.0
"""Requests a second to a webhook that does not answer: at 15 s each they occupy 30 slots of the limited queue."""


def is_degraded(webhook: Webhook) -> bool:
    """Return whether the webhook let the latest requests run into their timeouts."""
    return (webhook.timeouts or 0) >= DEGRADED_AFTER


def rate_of(webhook: Webhook) -> float | None:
    """Return the requests a second that the webhook takes; None: any number."""
    if not is_degraded(webhook):
        return webhook.rate_limit
    return min(DEGRADED_RATE, webhook.rate_limit or DEGRADED_RATE)


def order_of(webhook: Webhook) -> OrderPolicy | None:
    """Return how the webhook wants its events ordered; None: not at all."""
    if webhook.ordered is None:
        return None
    return "skip" if webhook.ordered == "skip" else "block"
