"""The notification channel: a notification of a webhook, rendered for the event."""

from temporalio import activity

from activities.memory_budget import request_memory
from activities.rounds import Job, Round, RoundResult, Rounds, delays_of
from hookkeeper import outcomes
from hookkeeper.content.notifications import render_notification
from hookkeeper.egress.notifier import Notifier
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.targets import notification_of
from hookkeeper.sandbox.pool import Sandbox


class NotificationActivities:
    """Notifications of webhooks."""

    def __init__(self, rounds: Rounds, notifier: Notifier, sandbox: Sandbox) -> None:
        self._rounds = rounds
        self._notifier = notifier
        self._sandbox = sandbox

    @activity.defn(name="send_notifications")
    async def notify(self, round_: Round) -> RoundResult:
        """Make every attempt of the round."""
        return await self._rounds.make(round_, self._attempt)

    async def _attempt(self, job: Job) -> Outcome:
        notification = notification_of(job.webhook, job.order.delivery)
        if notification is None:
            return Outcome(delivery=job.order.delivery, verdict="webhook_deleted")
        tenant, memory = job.event.tenant, self._rounds.memory
        async with memory.request(tenant) as reservation:
            note = await self._sandbox.for_(tenant).call(
                render_notification, notification, job.context, memory.max_body_bytes
            )
            reservation.shrink_to(request_memory(note.size))
            answer = await self._notifier.send(
                note, job.webhook.timeout, job.excerpt_limit, tenant=tenant, waited=reservation.waited
            )
        return Outcome(
            delivery=job.order.delivery,
            verdict=answer.verdict,
            target=notification.target,
            started_at=answer.started_at,
            duration_ms=round(answer.duration_ms, 1),
            status_code=answer.status_code,
            error=answer.error,
            response_excerpt=outcomes.excerpt(answer.text.encode(), job.excerpt_limit),
            retry_after=answer.retry_after,
            delays=delays_of(job.webhook),
        )
