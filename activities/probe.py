"""What a probe does: knock at a webhook that was disabled for failing, and enable it when it answers."""

from datetime import timedelta

from temporalio import activity

from activities.rounds import Order, Round
from activities.webhooks import WebhookActivities
from hookkeeper.messages.probe import PROBE_EVENT_TYPE, ProbedWebhook, ProbeRequest, ProbeResult, ProbeState
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.temporal.webhook_workflows import Releases
from hookkeeper.times import utc_now

DATA = {"message": "Hookkeeper would like to know whether you answer again."}


class ProbeActivities:
    def __init__(
        self, store: Store, webhooks: WebhookActivities, releases: Releases, interval: timedelta | None
    ) -> None:
        """`interval`: between two knocks; None: nothing is probed."""
        self._store = store
        self._webhooks = webhooks
        self._releases = releases
        self._interval = interval

    @activity.defn(name="send_probe")
    async def knock(self, knock: ProbeRequest) -> ProbeResult:
        """Send a signed event to the webhook, if it is still disabled for failing."""
        webhook = await self._store.get(knock.webhook_id)
        if self._interval is None or webhook is None or not _is_probed(webhook):
            return ProbeResult(event_id=knock.event_id, state="over")
        (outcome,) = (await self._webhooks.deliver(_round_of(knock))).outcomes
        return ProbeResult(
            event_id=knock.event_id,
            state=_state_after(outcome),
            interval=self._interval.total_seconds(),
            outcome=outcome,
        )

    @activity.defn(name="enable_webhook")
    async def enable(self, probed: ProbedWebhook) -> bool:
        """Enable the webhook and have released what it held; False where somebody wants it off. Idempotent."""
        enabled = await self._store.health.enable(probed.webhook_id, utc_now())
        if enabled:
            await self._releases.start(probed.tenant, probed.webhook_id)
        return enabled


def _is_probed(webhook: Webhook) -> bool:
    return not webhook.enabled and webhook.disabled_reason == "failing"


def _state_after(outcome: Outcome) -> ProbeState:
    if outcome.verdict == "succeeded":
        return "answers"
    return "over" if outcome.verdict in ("gone", "webhook_deleted") else "silent"


def _round_of(knock: ProbeRequest) -> Round:
    """What a person would have sent to try it: at once, and although it is disabled."""
    webhook_id = knock.webhook_id
    order = Order(delivery=webhook_id, webhook_id=webhook_id, number=1, trigger="manual", at_once=True)
    return Round(
        id=knock.event_id,
        type=PROBE_EVENT_TYPE,
        tenant=knock.tenant,
        timestamp=knock.at,
        data=DATA,
        orders=(order,),
    )
