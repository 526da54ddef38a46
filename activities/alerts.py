"""Alerts: tell the owner of a webhook, and the operator, that a delivery has failed, that the webhook was disabled for
it, or that it works again.

At most one failure alert per webhook and hour (`hookkeeper.registry.alerts`). The heartbeat keeps the recipients that
were reached, so that a retry after an error of one recipient does not alert the others again.
"""

from typing import Any, NamedTuple

import structlog
from pydantic import Field
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.delivery_batch import about, every
from activities.history import EventData
from activities.memory_budget import Reservation, WorkerMemory, request_memory
from activities.tenant_concurrency import TenantConcurrency
from hookkeeper import error_types
from hookkeeper.content.context import OutgoingEvent, context_of
from hookkeeper.content.emails import Email, render_email
from hookkeeper.content.faults import Fault
from hookkeeper.content.notifications import Notification, OnFailure, render_notification
from hookkeeper.egress.notifier import Notifier
from hookkeeper.links import LinkBuilder
from hookkeeper.mail.provider import MailProvider, Tags
from hookkeeper.messages.alert import Alert, AlertResult
from hookkeeper.outcomes import Message
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.times import rfc3339

NOTIFICATION_TIMEOUT = 15.0
MAX_RESPONSE_BYTES = 512
MAX_FAILED_TRIES = 10
"""Tries in which a recipient could not be reached, after which an alert is given up: some five hours. Those that
failed because of a limit or an internal error do not count."""
log = structlog.get_logger("hookkeeper.alert")

Recipient = Email | Notification


class AlertProgress(Message):
    """The heartbeat's details, from which a retry continues."""

    folded: int
    """Failures since the last alert, as the claim has counted them."""
    sent: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    reached: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """For emails that have failed: the addresses that have received it."""
    failed_tries: int = 0


class RecipientResult(NamedTuple):
    """The result of alerting one recipient."""

    verdict: str
    reached: frozenset[str] = frozenset()


class AlertActivities:
    """Sends alerts."""

    def __init__(
        self,
        store: Store,
        temporal: Client,
        provider: MailProvider,
        notifier: Notifier,
        sandbox: Sandbox,
        links: LinkBuilder,
        operators: OnFailure | None,
        concurrency: TenantConcurrency,
        memory: WorkerMemory,
    ) -> None:
        self._store = store
        self._data = EventData(temporal)
        self._provider = provider
        self._notifier = notifier
        self._sandbox = sandbox
        self._links = links
        self._operators = operators
        self._concurrency = concurrency
        self._memory = memory

    @activity.defn
    async def send_alert(self, alert: Alert) -> AlertResult:
        """Alert all recipients at once; raise if one could not be reached, so that the activity is retried."""
        with self._concurrency.slot(alert.tenant):
            return await self._send(alert)

    async def _send(self, alert: Alert) -> AlertResult:
        webhook = await self._store.get(alert.webhook_id)
        if webhook is None:
            return AlertResult()
        progress = await self._claim(alert)
        if progress is None:
            return AlertResult(folded=True)
        data = await self._data.of_this_run()
        with self._memory.event_data(alert.tenant, data):
            context = self._context(alert, webhook, progress.folded, data)
            return await self._send_to_all(alert, webhook, progress, context)

    async def _send_to_all(
        self, alert: Alert, webhook: Webhook, earlier: AlertProgress, context: dict[str, Any]
    ) -> AlertResult:
        sent, given_up, reached = list(earlier.sent), list(earlier.given_up), dict(earlier.reached)
        failed: list[str] = []

        async def send(name: str, recipient: Recipient) -> None:
            result = await self._send_to(recipient, alert, name, context, frozenset(reached.get(name, ())))
            log.info("alert", webhook=webhook.id, tenant=alert.tenant, to=name, verdict=result.verdict)
            {"succeeded": sent, "failed": failed}.get(result.verdict, given_up).append(name)
            if result.reached:
                reached[name] = (*reached.get(name, ()), *sorted(result.reached))
            activity.heartbeat(progress(earlier.failed_tries))

        def progress(failed_tries: int) -> AlertProgress:
            return AlertProgress(
                folded=earlier.folded,
                sent=tuple(sent),
                given_up=tuple(given_up),
                reached=reached,
                failed_tries=failed_tries,
            )

        recipients = self._recipients(webhook).items()
        await every(send(name, recipient) for name, recipient in recipients if name not in (*sent, *given_up))
        if failed:
            failed_tries = earlier.failed_tries + 1
            activity.heartbeat(progress(failed_tries))
            raise _not_reached(failed, is_last=failed_tries >= MAX_FAILED_TRIES)
        return AlertResult(sent=tuple(sent), given_up=tuple(given_up))

    async def _claim(self, alert: Alert) -> AlertProgress | None:
        """Claim the right to alert, once; None if this alert is folded into the next one."""
        details = activity.info().heartbeat_details
        if details:
            return AlertProgress.model_validate(details[0])
        folded = await self._store.alerts.claim(alert.webhook_id, alert.kind, alert.delivery, alert.token)
        if folded is None:
            return None
        progress = AlertProgress(folded=folded)
        activity.heartbeat(progress)
        return progress

    def _recipients(self, webhook: Webhook) -> dict[str, Recipient]:
        """Return the webhook's recipients and the operator's, each by a name that may be in history."""
        recipients: dict[str, Recipient] = {}
        for role, alerts in (("owner", webhook.on_failure), ("operator", self._operators)):
            if alerts is None:
                continue
            recipients |= {f"{role}.email.{n}": email for n, email in enumerate(alerts.emails, start=1)}
            recipients |= {
                f"{role}.notification.{n}": notification for n, notification in enumerate(alerts.notifications, start=1)
            }
        return recipients

    async def _send_to(
        self, recipient: Recipient, alert: Alert, name: str, context: dict[str, Any], reached: frozenset[str]
    ) -> RecipientResult:
        try:
            async with self._memory.request(alert.tenant) as reservation:
                if isinstance(recipient, Email):
                    return await self._send_email(reservation, recipient, alert, name, context, reached)
                return await self._send_notification(reservation, recipient, alert, context)
        except Fault:
            return RecipientResult("bad_template")

    async def _send_email(
        self,
        reservation: Reservation,
        recipient: Email,
        alert: Alert,
        name: str,
        context: dict[str, Any],
        reached: frozenset[str],
    ) -> RecipientResult:
        email = await self._rendered(alert.tenant, render_email, recipient, Email(to=recipient.to), context)
        reservation.shrink_to(request_memory(email.size))
        delivery = f"{alert.webhook_id}.alert.{name}"
        tags = Tags(alert.tenant, alert.id, alert.type, delivery, alert.attempts, alert.token, reached)
        answer = await self._provider.send(email.model_copy(update={"tracking": False}), tags)
        return RecipientResult(answer.verdict, answer.accepted)

    async def _send_notification(
        self, reservation: Reservation, recipient: Notification, alert: Alert, context: dict[str, Any]
    ) -> RecipientResult:
        notification = await self._rendered(alert.tenant, render_notification, recipient, _plain(recipient), context)
        reservation.shrink_to(request_memory(notification.size))
        answer = await self._notifier.send(
            notification, NOTIFICATION_TIMEOUT, MAX_RESPONSE_BYTES, tenant=alert.tenant, waited=reservation.waited
        )
        return RecipientResult(answer.verdict)

    async def _rendered(self, tenant: str, render: Any, recipient: Any, plain: Any, context: dict[str, Any]) -> Any:
        """Render the owner's template; if it fails, the default one: a typo must not cost the alert."""
        sandbox = self._sandbox.for_(tenant)
        try:
            return await sandbox.call(render, recipient, context, self._memory.max_body_bytes)
        except Fault:
            return await sandbox.call(render, plain, context, self._memory.max_body_bytes)

    def _context(self, alert: Alert, webhook: Webhook, folded: int, data: Any) -> dict[str, Any]:
        event = OutgoingEvent(alert.id, alert.type, alert.tenant, alert.timestamp, data)
        reason = webhook.disabled_reason if alert.kind == "disabled" else alert.reason
        since = webhook.failing_since
        info = activity.info()
        run = self._links.run(info.workflow_id or "", info.workflow_run_id or "")
        page = self._links.webhook(webhook.id) if alert.probed else self._links.event(alert.tenant, alert.id)
        return context_of(event, about(webhook)) | {
            "alert": {
                **alert.model_dump(include={"kind", "tenant", "delivery", "channel", "target", "attempts"}),
                "reason": reason,
                "failures": webhook.failures or 0,
                "failing_since": rfc3339(since) if since else None,
                "webhook": {"id": webhook.id, "name": webhook.name, "enabled": webhook.enabled},
                "last_outcome": alert.model_dump(include={"status_code", "error", "text"}),
                "link": run or page,
                "folded": folded,
            }
        }


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
