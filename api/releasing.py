"""Let go what a webhook held, once it is on again."""

from hookkeeper.registry.models import Webhook
from hookkeeper.temporal.gateway import Gateway


async def release_held(gateway: Gateway, webhook: Webhook) -> None:
    """Have its held deliveries released, unless it is still off in another way. Raises `Unavailable`.

    The registry says by now that the webhook is on. A caller who is told 503 repeats the request, which changes nothing
    there, and comes here again.
    """
    if webhook.enabled and webhook.paused_at is None:
        await gateway.releases.start(webhook.tenant, webhook.id)
