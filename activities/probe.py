"""The probe of a webhook that was disabled for failing: a test event, after which it is enabled if it answers."""

from hashlib import sha256

from temporalio import activity

from activities.webhooks import WebhookActivities
from hookkeeper.messages.alert import IncidentLook, ProbeResult
from hookkeeper.messages.batch import AttemptRequest, DeliveryBatch, EventAttempts
from hookkeeper.registry.store import Store
from hookkeeper.temporal.bulk.releases import Releases
from hookkeeper.times import utc_now

PROBE_EVENT_TYPE = "hookkeeper.test"
DATA = {"message": "Hookkeeper checks whether this endpoint answers again."}


class ProbeActivities:
    def __init__(self, store: Store, webhooks: WebhookActivities, releases: Releases) -> None:
        self._store = store
        self._webhooks = webhooks
        self._releases = releases

    @activity.defn
    async def probe_webhook(self, probe: IncidentLook) -> ProbeResult:
        """Send a signed event to the webhook if it is still disabled for failing. If it succeeds, enable the webhook
        and release what it held. Idempotent.
        """
        webhook = await self._store.webhooks.get(probe.webhook_id)
        if webhook is None or not webhook.is_disabled_for_failing:
            return ProbeResult()
        (outcomes,) = (await self._webhooks.deliver_webhooks(_batch_of(probe))).outcomes
        assert outcomes is not None, "it raises at the tenant's limit"
        (outcome,) = outcomes
        if outcome.verdict == "succeeded" and await self._store.health.enable(probe.webhook_id, utc_now()):
            await self._releases.start(probe.tenant, probe.webhook_id)
        return ProbeResult(outcome=outcome)


def _batch_of(probe: IncidentLook) -> DeliveryBatch:
    """Return a manual attempt: it is sent at once, and although the webhook is disabled."""
    webhook_id = probe.webhook_id
    attempt = AttemptRequest(delivery=webhook_id, webhook_id=webhook_id, number=1, trigger="manual", immediate=True)
    event = EventAttempts(
        id=f"evt_{sha256(probe.token.encode()).hexdigest()[:24]}",
        type=PROBE_EVENT_TYPE,
        tenant=probe.tenant,
        timestamp=activity.info().scheduled_time,
        data=DATA,
        attempts=(attempt,),
    )
    return DeliveryBatch(events=(event,))
