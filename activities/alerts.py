"""Escalation: tell the owner of a webhook, and the operator, that a delivery has failed, or works again.

At most one alert a webhook and hour (`registry.alerts`). What was sent travels in the heartbeat, so that a retry after
a fault of one recipient does not tell the others again.
"""

from datetime import datetime
from typing import Any

import structlog
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.history import EventData
from activities.mail.provider import MailProvider, Tags
from activities.notifier import Notifier
from activities.outcomes import Message
from activities.rounds import about
from elements.context import AlertKind, Event, context_of
from elements.emails import Email, letter_of
from elements.faults import Fault
from elements.notifications import Notification, note_of
from elements.on_failure import OnFailure
from elements.sandbox import Sandbox
from links import Links
from registry.models import Webhook
from registry.store import Store

TIMEOUT = 15.0
KEEP = 512
log = structlog.get_logger("hookkeeper.alert")


class Alert(Message):
    """What is to be told."""

    kind: AlertKind
    id: str
    type: str
    tenant: str
    timestamp: datetime
    webhook_id: str
    delivery: str
    channel: str
    target: str
    reason: str | None = None
    attempts: int = 0
    status_code: int | None = None
    error: str | None = None
    text: str = ""
    """What the receiver or provider said last."""


class AlertResult(Message):
    """Who was told; empty where the alert was folded into the next one."""

    told: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    folded: bool = False


class AlertActivities:
    """Alerts of runs."""

    def __init__(
        self,
        store: Store,
        temporal: Client,
        provider: MailProvider,
        notifier: Notifier,
        sandbox: Sandbox,
        links: Links,
        operators: OnFailure | None,
    ) -> None:
        self._store = store
        self._data = EventData(temporal)
        self._provider = provider
        self._notifier = notifier
        self._sandbox = sandbox
        self._links = links
        self._operators = operators

    @activity.defn(name="alert")
    async def alert(self, alert: Alert) -> AlertResult:
        """Tell everybody who is to be told; raise where one could not be, so that it is tried again."""
        webhook = await self._store.get(alert.webhook_id)
        if webhook is None:
            return AlertResult()
        folded = await self._store.alerts.claim(webhook.id, alert.kind, alert.delivery, _token(alert))
        if folded is None:
            return AlertResult(folded=True)
        context = await self._context(alert, webhook, folded)
        told: list[str] = list(activity.info().heartbeat_details)
        given_up: list[str] = []
        failed: list[str] = []
        for name, recipient in self._recipients(webhook):
            if name in told:
                continue
            verdict, error = await self._tell(recipient, alert, name, context)
            log.info("alert", webhook=webhook.id, tenant=alert.tenant, to=name, verdict=verdict, error=error)
            {"succeeded": told, "failed": failed}.get(verdict, given_up).append(name)
            activity.heartbeat(*told)
        if failed:
            raise ApplicationError(
                f"not told yet: {', '.join(failed)}", type="AlertFailed", category=ApplicationErrorCategory.BENIGN
            )
        return AlertResult(told=tuple(told), given_up=tuple(given_up))

    def _recipients(self, webhook: Webhook) -> list[tuple[str, Email | Notification]]:
        """Give those of the webhook, then the operator's, each with a name that history may show."""
        named: list[tuple[str, Email | Notification]] = []
        for whose, those in (("owner", webhook.on_failure), ("operator", self._operators)):
            if those is None:
                continue
            named += [(f"{whose}.email.{n}", email) for n, email in enumerate(those.emails, start=1)]
            named += [(f"{whose}.notification.{n}", each) for n, each in enumerate(those.notifications, start=1)]
        return named

    async def _tell(
        self, recipient: Email | Notification, alert: Alert, name: str, context: dict[str, Any]
    ) -> tuple[str, str | None]:
        try:
            if isinstance(recipient, Email):
                tags = Tags(alert.tenant, alert.id, alert.type, f"{alert.webhook_id}.alert.{name}", alert.attempts)
                letter = await self._rendered(letter_of, recipient, Email(to=recipient.to), context)
                sent = await self._provider.send(letter.model_copy(update={"tracking": False}), tags)
                return sent.verdict, sent.error
            note = await self._rendered(note_of, recipient, _plain(recipient), context)
            answer = await self._notifier.send(note, TIMEOUT, KEEP)
        except Fault as fault:
            return "bad_template", str(fault)
        return answer.verdict, answer.error

    async def _rendered(self, render: Any, recipient: Any, plain: Any, context: dict[str, Any]) -> Any:
        """Render it; in our own words where the owner's template fails: an alert is not lost to a typo."""
        try:
            return await self._sandbox.call(render, recipient, context)
        except Fault:
            return await self._sandbox.call(render, plain, context)

    async def _context(self, alert: Alert, webhook: Webhook, folded: int) -> dict[str, Any]:
        event = Event(alert.id, alert.type, alert.tenant, alert.timestamp, await self._data.of_this_run())
        info = activity.info()
        run = self._links.run(info.workflow_id or "", info.workflow_run_id or "")
        return context_of(event, about(webhook)) | {
            "alert": {
                **alert.model_dump(include={"kind", "reason", "tenant", "delivery", "channel", "target", "attempts"}),
                "webhook": {"id": webhook.id, "name": webhook.name, "enabled": webhook.enabled},
                "last_outcome": alert.model_dump(include={"status_code", "error", "text"}),
                "link": run or self._links.event(alert.tenant, alert.id),
                "folded": folded,
            }
        }


def _plain(notification: Notification) -> Notification:
    http = notification.http.model_copy(update={"body": None}) if notification.http else None
    return notification.model_copy(update={"title": None, "body": None, "http": http})


def _token(alert: Alert) -> str:
    return f"{activity.info().workflow_run_id}/{alert.delivery}/{alert.attempts}/{alert.kind}"
