"""Whether a webhook takes a request now. Pure."""

from activities.outcomes import Outcome
from activities.rounds import Order
from registry.models import Webhook
from registry.pacing import rate_of


def not_now(order: Order, webhook: Webhook, *, limited: bool) -> Outcome | None:
    """Give the outcome of a request that is not made yet, or None where it may be made.

    `limited`: it came through the queue that keeps the webhook's rate. What a person asks for is made at once.
    """
    rate = rate_of(webhook)
    if not order.at_once and rate is not None and not limited:
        return Outcome(delivery=order.delivery, verdict="deferred", target=webhook.target, rate=rate, retry_after=0.0)
    return None
