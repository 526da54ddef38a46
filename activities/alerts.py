"""Escalation: tell the owner of a webhook, and the operator, that a delivery has failed, that the webhook was disabled
for it, or that it works again.

At most one failure alert per webhook and hour (`hookkeeper.registry.alerts`). Sent alerts travel in the heartbeat, so a
retry after a fault of one recipient does not alert the others again.
"""

from typing import Any, NamedTuple

import structlog
from pydantic import Field
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.history import EventData
from activities.memory_budget import Memory, Reservation, request_memory
from activities.rounds import about, every
from activities.tenant_concurrency import Places
from hookkeeper.content.context import Event, context_of
from hookkeeper.content.emails import Email, render_email
from hookkeeper.content.faults import Fault
from hookkeeper.content.notifications import Notification, render_notification
from hookkeeper.content.on_failure import OnFailure
from hookkeeper.egress.notifier import Notifier
from hookkeeper.links import Links
from hookkeeper.mail.provider import MailProvider, Tags
from hookkeeper.messages.alert import Alert, AlertResult
from hookkeeper.outcomes import Message
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.times import rfc3339

TIMEOUT = 15.0
KEEP = 512
MAX_FAILED_TRIES = 10
"""After so many tries in which a recipient could not be told, an alert is given up: some five hours. What found no
place, or failed for another reason of ours, was no such try."""
GIVEN_UP = "AlertGivenUp"
"""Type of the error that ends an alert for good."""
log = structlog.get_logger("hookkeeper.alert")


class _Progress(Message):
    """What travels in the heartbeat: a retry goes on from it."""

    folded: int
    """Failures since the last alert, as the claim said."""
    told: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    taken: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Of an email that some have and others have not yet: who has it."""
    failed_tries: int = 0
    """Tries in which a recipient could not be told."""


class _Telling(NamedTuple):
    """What telling one recipient came to."""

    verdict: str
    taken: frozenset[str] = frozenset()


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
        places: Places,
        memory: Memory,
    ) -> None:
        self._store = store
        self._data = EventData(temporal)
        self._provider = provider
        self._notifier = notifier
        self._sandbox = sandbox
        self._links = links
        self._operators = operators
        self._places = places
        self._memory = memory

    @activity.defn(name="alert")
    async def alert(self, alert: Alert) -> AlertResult:
        """Tell everybody who is to be told, at once; raise where one could not be, so that it is tried again."""
        with self._places.taken(alert.tenant):
            return await self._alert(alert)

    async def _alert(self, alert: Alert) -> AlertResult:
        webhook = await self._store.get(alert.webhook_id)
        if webhook is None:
            return AlertResult()
        known = await self._claimed(alert)
        if known is None:
            return AlertResult(folded=True)
        data = await self._data.of_this_run()
        with self._memory.holding(alert.tenant, data):
            context = self._context(alert, webhook, known.folded, data)
            return await self._tell_all(alert, webhook, known, context)

    async def _tell_all(self, alert: Alert, webhook: Webhook, known: _Progress, context: dict[str, Any]) -> AlertResult:
        told, given_up, taken = list(known.told), list(known.given_up), dict(known.taken)
        failed: list[str] = []

        async def tell(name: str, recipient: Email | Notification) -> None:
            telling = await self._tell(recipient, alert, name, context, frozenset(taken.get(name, ())))
            log.info("alert", webhook=webhook.id, tenant=alert.tenant, to=name, verdict=telling.verdict)
            {"succeeded": told, "failed": failed}.get(telling.verdict, given_up).append(name)
            if telling.taken:
                taken[name] = (*taken.get(name, ()), *sorted(telling.taken))
            activity.heartbeat(progress(known.failed_tries))

        def progress(failed_tries: int) -> _Progress:
            return _Progress(
                folded=known.folded,
                told=tuple(told),
                given_up=tuple(given_up),
                taken=taken,
                failed_tries=failed_tries,
            )

        recipients = self._recipients(webhook).items()
        await every(tell(*each) for each in recipients if each[0] not in (*told, *given_up))
        if failed:
            failed_tries = known.failed_tries + 1
            activity.heartbeat(progress(failed_tries))
            raise _not_told(failed, is_last=failed_tries >= MAX_FAILED_TRIES)
        return AlertResult(told=tuple(told), given_up=tuple(given_up))

    async def _claimed(self, alert: Alert) -> _Progress | None:
        """Claim the right to alert, once; None where this alert is folded into the next one."""
        details = activity.info().heartbeat_details
        if details:
            return _Progress.model_validate(details[0])
        folded = await self._store.alerts.claim(alert.webhook_id, alert.kind, alert.delivery, alert.token)
        if folded is None:
            return None
        claimed = _Progress(folded=folded)
        activity.heartbeat(claimed)
        return claimed

    def _recipients(self, webhook: Webhook) -> dict[str, Email | Notification]:
        """Give those of the webhook and the operator's, each by a name that history may show."""
        named: dict[str, Email | Notification] = {}
        for whose, those in (("owner", webhook.on_failure), ("operator", self._operators)):
            if those is None:
                continue
            named |= {f"{whose}.email.{n}": email for n, email in enumerate(those.emails, start=1)}
            named |= {f"{whose}.notification.{n}": each for n, each in enumerate(those.notifications, start=1)}
        return named

    async def _tell(
        self,
        recipient: Email | Notification,
        alert: Alert,
        name: str,
        context: dict[str, Any],
        taken: frozenset[str],
    ) -> _Telling:
        async with self._memory.request(alert.tenant) as reservation:
            return await self._tell_within(reservation, recipient, alert, name, context, taken)

    async def _tell_within(
        self,
        reservation: Reservation,
        recipient: Email | Notification,
        alert: Alert,
        name: str,
        context: dict[str, Any],
        taken: frozenset[str],
    ) -> _Telling:
        try:
            if isinstance(recipient, Email):
                letter = await self._rendered(alert.tenant, render_email, recipient, Email(to=recipient.to), context)
                reservation.shrink_to(request_memory(letter.size))
                delivery = f"{alert.webhook_id}.alert.{name}"
                tags = Tags(alert.tenant, alert.id, alert.type, delivery, alert.attempts, alert.token, taken)
                sent = await self._provider.send(letter.model_copy(update={"tracking": False}), tags)
                return _Telling(sent.verdict, sent.taken)
            note = await self._rendered(alert.tenant, render_notification, recipient, _plain(recipient), context)
            reservation.shrink_to(request_memory(note.size))
            sent_note = await self._notifier.send(note, TIMEOUT, KEEP, tenant=alert.tenant, waited=reservation.waited)
            return _Telling(sent_note.verdict)
        except Fault:
            return _Telling("bad_template")

    async def _rendered(self, tenant: str, render: Any, recipient: Any, plain: Any, context: dict[str, Any]) -> Any:
        """Render it; in our own words where the owner's template fails: an alert is not lost to a typo."""
        sandbox = self._sandbox.for_(tenant)
        try:
            return await sandbox.call(render, recipient, context, self._memory.max_body_bytes)
        except Fault:
            return await sandbox.call(render, plain, context, self._memory.max_body_bytes)

    def _context(self, alert: Alert, webhook: Webhook, folded: int, data: Any) -> dict[str, Any]:
        event = Event(alert.id, alert.type, alert.tenant, alert.timestamp, data)
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


def _not_told(names: list[str], *, is_last: bool) -> ApplicationError:
    return ApplicationError(
        f"not told{'' if is_last else ' yet'}: {', '.join(names)}",
        type=GIVEN_UP if is_last else "AlertFailed",
        non_retryable=is_last,
        category=ApplicationErrorCategory.BENIGN,
    )


def _plain(notification: Notification) -> Notification:
    http = notification.http.model_copy(update={"body": None}) if notification.http else None
    return notification.model_copy(update={"title": None, "body": None, "http": http})
