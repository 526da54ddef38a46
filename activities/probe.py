"""The activities of a probe: send a test event to a webhook that was disabled for failing, and enable it again."""

from datetime import timedelta

from temporalio import activity

from activities.webhooks import WebhookActivities
from hookkeeper.messages.batch import AttemptRequest, DeliveryBatch, EventAttempts
from hookkeeper.messages.probe import PROBE_EVENT_TYPE, ProbeInput, ProbeRequest, ProbeResult, ProbeState
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.temporal.bulk.incidents import Incidents
from hookkeeper.temporal.bulk.releases import Releases
from hookkeeper.times import utc_now

DATA = {"message": "Hookkeeper checks whether this endpoint answers again."}


class ProbeActivities:
    def __init__(
        self,
        store: Store,
        webhooks: WebhookActivities,
        releases: Releases,
        incidents: Incidents,
        interval: timedelta | None,
    ) -> None:
        """`interval`: between two probes; None turns probing off."""
        self._store = store
        self._webhooks = webhooks
        self._releases = releases
        self._incidents = incidents
        self._interval = interval

    @activity.defn
    async def send_probe(self, request: ProbeRequest) -> ProbeResult:
        """Send a signed event to the webhook if it is still disabled for failing."""
        webhook = await self._store.webhooks.get(request.webhook_id)
        if self._interval is None or webhook is None or not _is_disabled_for_failing(webhook):
            return ProbeResult(event_id=request.event_id, state="obsolete")
        (outcomes,) = (await self._webhooks.deliver_webhooks(_batch_of(request))).outcomes
        assert outcomes is not None, "it raises at the tenant's limit"
        (outcome,) = outcomes
        return ProbeResult(
            event_id=request.event_id,
            state=_state_after(outcome),
            interval=self._interval.total_seconds(),
            outcome=outcome.model_copy(update={"alerts": False}),  # the webhook's incident alerts
        )

    @activity.defn
    async def enable_webhook(self, probe: ProbeInput) -> bool:
        """Enable the webhook and release what it held; False if it was disabled by request. Idempotent.

        Its incident tells that it works again.
        """
        enabled = await self._store.health.enable(probe.webhook_id, utc_now())
        if enabled:
            await self._releases.start(probe.tenant, probe.webhook_id)
            await self._incidents.look(probe.tenant, probe.webhook_id)
        return enabled


def _is_disabled_for_failing(webhook: Webhook) -> bool:
    return not webhook.enabled and webhook.disabled_reason == "failing"


def _state_after(outcome: Outcome) -> ProbeState:
    if outcome.verdict == "succeeded":
        return "recovered"
    return "obsolete" if outcome.verdict in ("gone", "webhook_deleted") else "failing"


def _batch_of(request: ProbeRequest) -> DeliveryBatch:
    """Return a manual attempt: it is sent at once, and although the webhook is disabled."""
    webhook_id = request.webhook_id
    attempt = AttemptRequest(delivery=webhook_id, webhook_id=webhook_id, number=1, trigger="manual", immediate=True)
    event = EventAttempts(
        id=request.event_id,
        type=PROBE_EVENT_TYPE,
        tenant=request.tenant,
        timestamp=request.at,
        data=DATA,
        attempts=(attempt,),
    )
    return DeliveryBatch(events=(event,))
