"""Very many webhooks, for events that are divided into parts."""

from hookkeeper.crypto.signing_keys import new_secret
from hookkeeper.policy import RetryPolicy
from hookkeeper.registry.models import Webhook
from instances import Instance


async def crowd(instance: Instance, url: str, size: int, **fields: object) -> list[str]:
    """Register webhooks, straight into the registry: through the API they would take seconds. Give their ids."""
    ids = [f"wh_{n:03}{instance.tenant[-9:]}" for n in range(size)]
    for id_ in ids:
        webhook = Webhook(
            id=id_,
            tenant=instance.tenant,
            url=url,
            events=["*"],
            secret=new_secret("v1"),
            retry=RetryPolicy(schedule=()),
        )
        for name, value in fields.items():
            setattr(webhook, name, value)
        await instance.store.webhooks.add(webhook)
    return ids


def statuses(event: dict[str, object]) -> dict[str, int]:
    """Count the deliveries of an event by status."""
    deliveries = event["deliveries"]
    assert isinstance(deliveries, list)
    found = [delivery["status"] for delivery in deliveries]
    return {status: found.count(status) for status in sorted(set(found))}
