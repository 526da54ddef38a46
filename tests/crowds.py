"""Very many webhooks, for events that are divided into parts."""

from typing import Any

from hookkeeper.crypto.signing_keys import new_secret
from hookkeeper.policy import RetryPolicy
from hookkeeper.registry.models import Webhook
from instances import Instance


async def crowd(instance: Instance, url: str, size: int, **fields: Any) -> list[str]:
    """Register webhooks in one transaction: through the API they would take seconds. Return their ids."""
    ids = [f"wh_{n:03}{instance.tenant[-9:]}" for n in range(size)]
    fields = {"url": url, "events": ["*"], "retry": RetryPolicy(schedule=()), **fields}
    webhooks = [Webhook(id=id_, tenant=instance.tenant, secret=new_secret("v1"), **fields) for id_ in ids]
    async with instance.store.webhooks._database.write() as session:
        session.add_all(webhooks)
    return ids


def statuses(event: dict[str, object]) -> dict[str, int]:
    """Count the deliveries of an event by status."""
    deliveries = event["deliveries"]
    assert isinstance(deliveries, list)
    found = [delivery["status"] for delivery in deliveries]
    return {status: found.count(status) for status in sorted(set(found))}
