"""What an incident does: look at its webhook, and decide whether an alert is due."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from temporalio import activity

from activities.attempts import clock_offset
from hookkeeper.content.context import AlertKind
from hookkeeper.messages.alert import Alert, FailingTarget, IncidentFacts, IncidentLook, IncidentStep
from hookkeeper.registry.alerts import disable_at
from hookkeeper.registry.health import URL
from hookkeeper.registry.index.waiting import WaitingDeliveries
from hookkeeper.registry.models import Failure, Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.targets import channel_of, part_of, targets_of

ALERT_EVENT_TYPE = "hookkeeper.alert"
MAX_ALSO_FAILING = 10


class IncidentActivities:
    def __init__(self, store: Store, disable_after: timedelta | None) -> None:
        """`disable_after`: for webhooks without a setting of their own; None is never."""
        self._store = store
        self._disable_after = disable_after

    @activity.defn
    async def look_at_webhook(self, look: IncidentLook) -> IncidentStep:
        """Claim the alert that is due, if one is, and tell when to look again."""
        now = datetime.now(UTC) + clock_offset()
        claimed = await self._store.alerts.claim_step(look.webhook_id, look.token, now, self._disable_after)
        if claimed is None:
            return IncidentStep()
        webhook, step = claimed
        alert = await self._alert(webhook, step.kind, look, now) if step.kind else None
        return IncidentStep(alert=alert, wait=step.wait.total_seconds() if step.wait is not None else None)

    async def _alert(self, webhook: Webhook, kind: AlertKind, look: IncidentLook, now: datetime) -> Alert:
        state = webhook.incident
        assert state is not None, "it was claimed"
        waiting = (await self._store.index.waiting_of_webhooks([webhook.id])).get(webhook.id, WaitingDeliveries())
        name, failure = _worst(webhook)
        target = next((target for target in targets_of(webhook) if part_of(target.id) == name), None)
        return Alert(
            token=look.token,
            kind=kind,
            id=f"evt_{sha256(look.token.encode()).hexdigest()[:24]}",
            type=ALERT_EVENT_TYPE,
            tenant=webhook.tenant,
            timestamp=now,
            webhook_id=webhook.id,
            delivery=target.id if target else webhook.id,
            channel=channel_of(target.id if target else webhook.id),
            target=target.shown if target else webhook.target,
            reason=webhook.disabled_reason if kind == "disabled" else None,
            status_code=failure.status_code if failure else None,
            error=failure.error if failure else None,
            text=failure.text if failure else "",
            incident=IncidentFacts(
                key=state.key,
                at=now,
                since=state.since,
                failures=failure.failures if failure else 0,
                also_failing=tuple(_also_failing(webhook, name)),
                waiting=waiting.held + waiting.retrying,
                next_attempt_at=waiting.next_attempt_at,
                disable_at=disable_at(webhook, self._disable_after),
                unreported=state.reported,
            ),
        )


def _worst(webhook: Webhook) -> tuple[str, Failure | None]:
    """Return the target that an alert is about: the URL if it fails, otherwise the one that fails for the longest."""
    if URL in webhook.failing or not webhook.failing:
        return URL, webhook.failing.get(URL)
    return min(webhook.failing.items(), key=lambda item: (item[1].since, item[0]))


def _also_failing(webhook: Webhook, named: str) -> Iterator[FailingTarget]:
    others = sorted((failure.since, name) for name, failure in webhook.failing.items() if name != named)
    for _, name in others[:MAX_ALSO_FAILING]:
        yield FailingTarget(target=name, **webhook.failing[name].model_dump())
