"""What an incident does: look at its webhook, and decide whether an alert is due. And who starts it: each failure."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import structlog
from temporalio import activity
from temporalio.service import RPCError

from activities.attempts import clock_offset
from activities.delivery_batch import Made
from hookkeeper.content.context import AlertKind
from hookkeeper.messages.alert import Alert, FailingTarget, IncidentFacts, IncidentLook, IncidentStep
from hookkeeper.outcomes import NOT_MADE
from hookkeeper.registry.alerts import ClaimedStep, disable_at
from hookkeeper.registry.health import URL, HealthChange
from hookkeeper.registry.models import Failure, Webhook
from hookkeeper.registry.store import Store
from hookkeeper.registry.targets import channel_of, part_of, targets_of
from hookkeeper.services.errors import RateLimited
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.temporal.bulk.incidents import Incidents

ALERT_EVENT_TYPE = "hookkeeper.alert"
MAX_TEXT = 500
"""Characters of the receiver's latest response in an alert."""
MAX_ALSO_FAILING = 10
MAX_WATCHES, MAX_LOOKS = "1/minute", "20/minute"
"""Calls for one webhook, per worker. What is left out is made up for by the next attempt, or the next look."""
log = structlog.get_logger("hookkeeper.alert")
Call = timedelta | None
"""Start the incident, which looks after this time; or, None, let it look now."""


class IncidentActivities:
    def __init__(self, store: Store, disable_after: timedelta | None) -> None:
        """`disable_after`: for webhooks without a setting of their own; None is never."""
        self._store = store
        self._disable_after = disable_after

    @activity.defn
    async def look_at_webhook(self, look: IncidentLook) -> IncidentStep:
        """Claim the alert that is due, if one is, and tell when to look again."""
        now = datetime.now(UTC) + clock_offset()
        step = await self._store.alerts.claim_step(look.webhook_id, look.token, now, self._disable_after)
        if step is None:
            return IncidentStep()
        alert = await self._alert(step, step.kind, look, now) if step.kind else None
        return IncidentStep(alert=alert, wait=step.wait.total_seconds() if step.wait is not None else None)

    async def _alert(self, step: ClaimedStep, kind: AlertKind, look: IncidentLook, now: datetime) -> Alert:
        webhook, state = step.webhook, step.webhook.incident
        assert state is not None, "it was claimed"
        waiting, next_attempt_at = await self._store.index.waiting_for(webhook.id)
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
            text=failure.text[:MAX_TEXT] if failure else "",
            incident=IncidentFacts(
                key=state.key,
                at=now,
                since=state.since,
                failures=failure.failures if failure else 0,
                also_failing=tuple(_also_failing(webhook, name)),
                waiting=waiting,
                next_attempt_at=next_attempt_at,
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
        failure = webhook.failing[name]
        yield FailingTarget(
            target=name,
            failures=failure.failures,
            since=failure.since,
            status_code=failure.status_code,
            error=failure.error,
            text=failure.text[:MAX_TEXT],
        )


class IncidentCalls:
    """Starts incidents, and lets them look, after each batch of attempts."""

    def __init__(self, incidents: Incidents, *, always_alert: bool) -> None:
        """`always_alert`: the operator wants alerts, whatever the webhook's settings are."""
        self._incidents = incidents
        self._always_alert = always_alert
        self._rates = RateLimits(None)

    async def after(
        self,
        tenant: str,
        made: Sequence[Made],
        before: Mapping[str, Webhook],
        changes: Sequence[HealthChange],
        now: datetime,
    ) -> None:
        """Make the calls that these attempts need. One that fails is made up for by the next failure."""
        for webhook_id, wait in calls(made, before, changes, now).items():
            webhook = before.get(webhook_id)
            if self._always_alert or webhook is None or webhook.on_failure is not None:
                await self._call(tenant, webhook_id, wait)

    async def _call(self, tenant: str, webhook_id: str, wait: Call) -> None:
        who, rate = (f"look {webhook_id}", MAX_LOOKS) if wait is None else (f"watch {webhook_id}", MAX_WATCHES)
        if not await self._rates.has_room(who, rate):
            return
        try:
            if wait is None:
                await self._incidents.look(tenant, webhook_id)
            else:
                await self._incidents.watch(tenant, webhook_id, wait)
            with suppress(RateLimited):
                await self._rates.count(who, rate, "another attempt has called meanwhile")
        except RPCError as error:
            log.warning("the incident was not started", webhook=webhook_id, tenant=tenant, reason=str(error))


def calls(
    made: Sequence[Made], before: Mapping[str, Webhook], changes: Sequence[HealthChange], now: datetime
) -> dict[str, Call]:
    """Return the webhooks whose incidents are to be called, and how."""
    found: dict[str, Call] = {}
    for request, outcome in made:
        webhook = before.get(request.webhook_id)
        if webhook is None or outcome.verdict in NOT_MADE:
            continue
        if outcome.verdict != "succeeded":
            found[webhook.id] = _left(webhook.failing_from, now)
        elif webhook.enabled and webhook.incident and webhook.incident.is_open and not webhook.failing:
            found[webhook.id] = None  # the success that ended the failures came before it was enabled
    for change in changes:
        webhook = before.get(change.webhook_id)
        if change.disabled or change.reached or (change.recovered and _may_be_alerted(webhook, now)):
            found[change.webhook_id] = None
        elif change.began:
            found[change.webhook_id] = _left(change.failing_from, now)
    return found


def _may_be_alerted(webhook: Webhook | None, now: datetime) -> bool:
    """Return whether an alert may have been sent of failures that are over: others end without one."""
    if webhook is None or (webhook.incident and webhook.incident.is_open):
        return True
    return webhook.failing_from is not None and webhook.failing_from <= now


def _left(failing_from: datetime | None, now: datetime) -> timedelta:
    return max(failing_from - now, timedelta()) if failing_from else timedelta(days=1)
