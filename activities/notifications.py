"""The notification channel: a webhook's notification, rendered for the event, to its service."""

from temporalio import activity

from activities.attempts import PreparedAttempt
from activities.delivery_batch import BatchRunner
from activities.rendering import Renderer
from hookkeeper.content.notifications import render_notification
from hookkeeper.egress.notifier import Notifier
from hookkeeper.messages.batch import BatchResult, DeliveryBatch
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.registry.targets import notification_of


class NotificationActivities:
    def __init__(self, batches: BatchRunner, notifier: Notifier, renderer: Renderer) -> None:
        self._batches = batches
        self._notifier = notifier
        self._renderer = renderer

    @activity.defn
    async def send_notifications(self, batch: DeliveryBatch) -> BatchResult:
        """Make every attempt of the batch."""
        return await self._batches.run(batch, self._attempt)

    async def _attempt(self, attempt: PreparedAttempt) -> Outcome:
        template = notification_of(attempt.webhook, attempt.request.delivery)
        if template is None:
            return Outcome(delivery=attempt.request.delivery, verdict="webhook_deleted")
        tenant, batch = attempt.tenant, attempt.batch
        async with self._renderer.rendered(tenant, render_notification, template, attempt.context) as (call, waited):
            answer = await self._notifier.send(
                call,
                attempt.webhook.timeout,
                batch.excerpt_limit,
                keep_headers=batch.headers_limit,
                tenant=tenant,
                waited=waited,
            )
        outcome = attempt.outcome(answer, template.target, answer.text)
        return outcome.model_copy(update={"response_headers": answer.headers})
