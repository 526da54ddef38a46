"""Send the alerts of incidents to the owner of a webhook and to the operator.

Which alerts are due is decided in `registry.webhooks.alerts`. The operator gets few for one tenant, which can make
webhooks, let them fail and remove them as often as it likes. The heartbeat keeps the recipients that were reached, so
that a retry after an error of one recipient does not alert the others again.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from pydantic import Field
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.memory_budget import WorkerMemory
from activities.rendering import Renderer
from activities.tenant_concurrency import TenantConcurrency
from hookkeeper import error_types, metrics
from hookkeeper.asyncio_tasks import wait_for_all
from hookkeeper.content.context import OutgoingEvent, context_of
from hookkeeper.content.emails import Email, render_email
from hookkeeper.content.errors import ContentError
from hookkeeper.content.notifications import Notification, OnFailure, render_notification
from hookkeeper.egress.notifier import Notifier
from hookkeeper.links import LinkBuilder
from hookkeeper.mail.provider import MailProvider, Tags
from hookkeeper.messages import Message
from hookkeeper.messages.alert import Alert, AlertResult, IncidentFacts
from hookkeeper.messages.event import LOST, Delivery
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.services.errors import RateLimited
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.tenant_limits import OPERATOR_ALERTS
from hookkeeper.times import rfc3339

NOTIFICATION_TIMEOUT = 15.0
MAX_EXCERPT_CHARACTERS = 500
"""Characters of the receiver's latest response in an alert."""
MAX_RESPONSE_BYTES = 512
MAX_FAILED_TRIES = 10
"""Tries in which a recipient could not be reached, after which an alert is given up: some five hours. Those that
failed because of a limit or an internal error do not count."""
OWNER, OPERATOR = "owner", "operator"
"""Roles of recipients, with which their names begin."""
log = structlog.get_logger("hookkeeper.alert")

Recipient = Email | Notification


class RecipientResult(NamedTuple):
    verdict: str
    reached: frozenset[str] = frozenset()


class AlertProgress(Message):
    """The heartbeat's details, from which a retry continues."""

    sent: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    reached: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """For emails that have failed: the addresses that have received it."""
    failed_tries: int = 0

    def with_result(self, name: str, result: RecipientResult) -> "AlertProgress":
        """Add the result of a recipient, who is tried again if it has failed."""
        if result.verdict == "succeeded":
            return self.model_copy(update={"sent": (*self.sent, name)})
        if result.verdict != "failed":
            return self.model_copy(update={"given_up": (*self.given_up, name)})
        reached = (*self.reached.get(name, ()), *sorted(result.reached))
        return self.model_copy(update={"reached": self.reached | {name: reached}})

    def remaining(self, names: Iterable[str]) -> list[str]:
        """Return the recipients that are neither reached nor given up."""
        return [name for name in names if name not in (*self.sent, *self.given_up)]


class AlertActivities:
    def __init__(
        self,
        store: Store,
        provider: MailProvider,
        notifier: Notifier,
        renderer: Renderer,
        links: LinkBuilder,
        operators: OnFailure | None,
        concurrency: TenantConcurrency,
        memory: WorkerMemory,
    ) -> None:
        self._store = store
        self._provider = provider
        self._notifier = notifier
        self._renderer = renderer
        self._links = links
        self._operators = operators
        self._concurrency = concurrency
        self._memory = memory
        self._rates = RateLimits()

    @activity.defn
    async def send_alert(self, alert: Alert) -> AlertResult:
        """Alert all recipients at once; raise if one could not be reached, so that the activity is retried."""
        with self._concurrency.slot(alert.tenant):
            return await self._send(alert)

    async def _send(self, alert: Alert) -> AlertResult:
        webhook = await self._store.webhooks.get(alert.webhook_id)
        if webhook is None:
            return AlertResult()
        progress = await self._progress(alert)
        about = await self._store.rows.read(alert.tenant, alert.id) if alert.kind == "failed" else None
        with self._memory.event_data(alert.tenant, about.event.data if about else {}):
            return await self._send_to_all(alert, webhook, progress, about)

    async def _send_to_all(
        self, alert: Alert, webhook: Webhook, progress: AlertProgress, about: EventSnapshot | None
    ) -> AlertResult:
        recipients, context = self._recipients(webhook), _context(alert, webhook, about)

        async def send(name: str) -> None:
            nonlocal progress
            reached = frozenset(progress.reached.get(name, ()))
            linked = context | {"alert": context["alert"] | self._links_for(alert, name, about)}
            result = await self._send_to(recipients[name], alert, name, linked, reached)
            metrics.ALERTS.labels(alert.kind, result.verdict).inc()
            log.info("alert", webhook=webhook.id, tenant=alert.tenant, to=name, verdict=result.verdict)
            progress = progress.with_result(name, result)
            activity.heartbeat(progress)

        await wait_for_all(send(name) for name in progress.remaining(recipients))
        if failed := progress.remaining(recipients):
            progress = progress.model_copy(update={"failed_tries": progress.failed_tries + 1})
            activity.heartbeat(progress)
            raise _not_reached(failed, is_last=progress.failed_tries >= MAX_FAILED_TRIES)
        return AlertResult(sent=progress.sent, given_up=progress.given_up)

    async def _progress(self, alert: Alert) -> AlertProgress:
        """Return what earlier tries have done."""
        details = activity.info().heartbeat_details
        if details:
            return AlertProgress.model_validate(details[0])
        progress = AlertProgress(given_up=await self._operators_left_out(alert))
        activity.heartbeat(progress)
        return progress

    async def _operators_left_out(self, alert: Alert) -> tuple[str, ...]:
        """Return the names of the operator's recipients if they had enough alerts because of this tenant."""
        if operators := tuple(_named(OPERATOR, self._operators)):
            try:
                await self._rates.count(alert.tenant, OPERATOR_ALERTS.rate, "too many alerts to the operator")
            except RateLimited:
                log.warning(
                    "the operator is not alerted", webhook=alert.webhook_id, tenant=alert.tenant, kind=alert.kind
                )
                return operators
        return ()

    def _recipients(self, webhook: Webhook) -> dict[str, Recipient]:
        """Return the webhook's recipients and the operator's, each by a name that may be in history."""
        return _named(OWNER, webhook.on_failure) | _named(OPERATOR, self._operators)

    async def _send_to(
        self, recipient: Recipient, alert: Alert, name: str, context: dict[str, Any], reached: frozenset[str]
    ) -> RecipientResult:
        """Send the owner's own template; if it fails, the default one: a typo must not cost the alert."""
        try:
            if isinstance(recipient, Email):
                return await self._send_email(recipient, alert, name, context, reached)
            return await self._send_notification(recipient, alert, context)
        except ContentError:
            return RecipientResult("bad_template")

    async def _send_email(
        self, recipient: Email, alert: Alert, name: str, context: dict[str, Any], reached: frozenset[str]
    ) -> RecipientResult:
        delivery = f"{alert.webhook_id}.alert.{name}"
        tags = Tags(alert.tenant, alert.id, alert.type, delivery, alert.attempts, alert.token, reached)
        plain = Email(to=recipient.to)
        rendering = self._renderer.rendered(alert.tenant, render_email, recipient, context, fallback=plain)
        async with rendering as (email, _):
            answer = await self._provider.send(email.model_copy(update={"tracking": False}), tags)
        return RecipientResult(answer.verdict, answer.accepted)

    async def _send_notification(
        self, recipient: Notification, alert: Alert, context: dict[str, Any]
    ) -> RecipientResult:
        tenant, plain = alert.tenant, _plain(recipient)
        rendering = self._renderer.rendered(tenant, render_notification, recipient, context, fallback=plain)
        async with rendering as (call, waited):
            answer = await self._notifier.send(
                call, NOTIFICATION_TIMEOUT, MAX_RESPONSE_BYTES, tenant=tenant, waited=waited
            )
        return RecipientResult(answer.verdict)

    def _links_for(self, alert: Alert, name: str, about: EventSnapshot | None) -> dict[str, Any]:
        """Return who the recipient is, and where it finds more. The Temporal web UI shows all tenants, so it is the
        operator's only.
        """
        is_operator = name.startswith(f"{OPERATOR}.")
        links, info = self._links if is_operator else self._links.for_owners(), activity.info()
        incident = info.workflow_id or "", info.workflow_run_id or ""
        run = (about.row.workflow_id, about.row.run_id) if about else incident
        is_about_webhook = alert.kind != "failed"
        return {
            "recipient": OPERATOR if is_operator else OWNER,
            "link": links.webhook_page(alert.webhook_id)
            if is_about_webhook
            else links.event_page(alert.tenant, alert.id),
            "temporal": links.run(*run),
        }


def _context(alert: Alert, webhook: Webhook, about: EventSnapshot | None) -> dict[str, Any]:
    """Return the variables of templates. `about`: the event whose delivery has failed, unless it was erased."""
    event = OutgoingEvent(alert.id, alert.type, alert.tenant, alert.timestamp, data={})
    if about:
        event = replace(event, timestamp=about.event.timestamp, data=about.event.data, channels=about.event.channels)
        alert = _with_content(alert, about.state.deliveries)
    return context_of(event, webhook.context) | {
        "alert": {
            **alert.model_dump(include={"kind", "tenant", "delivery", "channel", "target", "attempts", "also_failed"}),
            "reason": webhook.disabled_reason if alert.kind == "disabled" else alert.reason,
            "webhook": {
                "id": webhook.id,
                "name": webhook.name,
                "url": webhook.target,
                "enabled": webhook.enabled,
            },
            "last_outcome": alert.model_dump(include={"status_code", "error", "text"}),
            **_facts(alert.incident),
        }
    }


def _with_content(alert: Alert, deliveries: Iterable[Delivery]) -> Alert:
    """Add what the row of the delivery says of its latest attempt, or of the email that was lost after it."""
    for delivery in deliveries:
        if delivery.id == alert.delivery:
            said = [attempt.response_excerpt for attempt in delivery.attempts if attempt.number == alert.attempts]
            lost = [each for each in delivery.receipts if each.kind in LOST and LOST[each.kind] == alert.reason]
            said += [f"{receipt.kind} for {receipt.address}: {receipt.detail}" for receipt in lost]
            text = said[-1][:MAX_EXCERPT_CHARACTERS] if said else ""
            return alert.model_copy(update={"target": delivery.target or alert.target, "text": text})
    return alert


def _facts(facts: IncidentFacts) -> dict[str, Any]:
    """Return the facts as templates see them."""
    others = [other.model_dump() | {"since": rfc3339(other.since)} for other in facts.also_failing]
    return {
        "incident": facts.key,
        "unreported": facts.unreported,
        "at": rfc3339(facts.at),
        "failing_since": _time(facts.since),
        "failures": facts.failures,
        "also_failing": others,
        "waiting": facts.waiting,
        "next_attempt_at": _time(facts.next_attempt_at),
        "disable_at": _time(facts.disable_at),
    }


def _time(time: datetime | None) -> str | None:
    return rfc3339(time) if time else None


def _named(role: str, alerts: OnFailure | None) -> dict[str, Recipient]:
    if alerts is None:
        return {}
    emails: dict[str, Recipient] = {f"{role}.email.{n}": email for n, email in enumerate(alerts.emails, start=1)}
    notifications = enumerate(alerts.notifications, start=1)
    return emails | {f"{role}.notification.{n}": notification for n, notification in notifications}


def _not_reached(names: list[str], *, is_last: bool) -> ApplicationError:
    return ApplicationError(
        f"not reached{'' if is_last else ' yet'}: {', '.join(names)}",
        type=error_types.ALERT_GIVEN_UP if is_last else error_types.ALERT_NOT_SENT,
        non_retryable=is_last,
        category=ApplicationErrorCategory.BENIGN,
    )


def _plain(notification: Notification) -> Notification:
    http = notification.http.model_copy(update={"body": None}) if notification.http else None
    return notification.model_copy(update={"title": None, "body": None, "http": http})
