"""What an incident does: look at its webhook, and decide whether an alert is due."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from temporalio import activity

from activities.attempts import clock_offset
from hookkeeper.content.context import AlertKind
from hookkeeper.kinds import URL
from hookkeeper.messages.alert import Alert, FailedDelivery, FailingTarget, IncidentFacts, IncidentLook, IncidentStep
from hookkeeper.registry.events.waiting import WaitingDeliveries
from hookkeeper.registry.models import Failure, Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.alerts import MAX_TOLD, Claim, Failed, disable_at
from hookkeeper.registry.webhooks.targets import part_of, targets_of

ALERT_EVENT_TYPE = "hookkeeper.alert"
MAX_ALSO_FAILING = 10


class IncidentActivities:
    def __init__(
        self, store: Store, disable_after: timedelta | None, probe_interval: timedelta | None, *, always_alert: bool
    ) -> None:
        """`disable_after`: for webhooks without a setting of their own; None is never. `probe_interval`: None turns
        probing off. `always_alert`: the operator wants alerts, whatever the webhook's settings are.
        """
        self._store = store
        self._disable_after = disable_after
        self._probe_interval = probe_interval
        self._always_alert = always_alert

    @activity.defn
    async def look_at_webhook(self, look: IncidentLook) -> IncidentStep:
        """Claim the alert that is due, if one is, and tell when to look again, and whether the webhook is probed."""
        now = datetime.now(UTC) + clock_offset()
        claim = await self._store.alerts.claim(look.webhook_id, look.token, now, self._disable_after)
        if claim is None:
            return IncidentStep()
        interval = self._probe_interval if claim.webhook.is_disabled_for_failing else None
        step = IncidentStep(probe_after=interval.total_seconds() if interval else None)
        if not (self._always_alert or claim.webhook.on_failure):
            return step
        wait = claim.due.wait.total_seconds() if claim.due.wait is not None else None
        return step.model_copy(update={"alert": await self._alert(claim, look, now), "wait": wait})

    async def _alert(self, claim: Claim, look: IncidentLook, now: datetime) -> Alert | None:
        webhook, kind = claim.webhook, claim.due.kind
        if claim.failed:
            return _alert_of_deliveries(webhook, claim.failed, look, now)
        return await self._alert_of_webhook(webhook, kind, look, now) if kind else None

    async def _alert_of_webhook(self, webhook: Webhook, kind: AlertKind, look: IncidentLook, now: datetime) -> Alert:
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
            channel=target.kind.name if target else URL.name,
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


def _alert_of_deliveries(webhook: Webhook, failed: Sequence[Failed], look: IncidentLook, now: datetime) -> Alert:
    """Return the alert of the delivery that has failed last, with some of those that have failed before. It is in a
    history that outlives the events, so it has nothing of what they say.
    """
    assert webhook.alert is not None, "it was claimed"
    shown = {target.id: target.shown for target in targets_of(webhook)}
    latest, *others = failed
    return Alert(
        token=look.token,
        kind="failed",
        id=latest.event_id,
        type=latest.type,
        tenant=webhook.tenant,
        timestamp=now,
        webhook_id=webhook.id,
        delivery=latest.delivery_id,
        channel=latest.channel,
        target=shown.get(latest.delivery_id, ""),
        reason=latest.reason,
        attempts=latest.attempts,
        status_code=latest.status_code,
        error=latest.error,
        incident=IncidentFacts(
            key="",
            at=now,
            since=webhook.unhealthy_since,
            failures=max((failure.failures for failure in webhook.failing.values()), default=0),
            unreported=webhook.alert.reported,
        ),
        also_failed=tuple(
            FailedDelivery(
                event=other.event_id,
                type=other.type,
                delivery=other.delivery_id,
                target=shown.get(other.delivery_id, ""),
                status_code=other.status_code,
                error=other.error,
            )
            for other in others[:MAX_TOLD]
        ),
    )


def _worst(webhook: Webhook) -> tuple[str, Failure | None]:
    """Return the target that an alert is about: the URL if it fails, otherwise the one that fails for the longest."""
    if URL.name in webhook.failing or not webhook.failing:
        return URL.name, webhook.failing.get(URL.name)
    return min(webhook.failing.items(), key=lambda item: (item[1].since, item[0]))


def _also_failing(webhook: Webhook, named: str) -> Iterator[FailingTarget]:
    others = sorted((failure.since, name) for name, failure in webhook.failing.items() if name != named)
    for _, name in others[:MAX_ALSO_FAILING]:
        yield FailingTarget(target=name, **webhook.failing[name].model_dump())
