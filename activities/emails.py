"""The email channel: a webhook's email, rendered for the event, to the mail provider."""

import hashlib

from temporalio import activity

from activities.delivery_batch import BatchRunner, PreparedAttempt, delays_of
from activities.rendering import Renderer
from hookkeeper import outcomes
from hookkeeper.content.emails import RenderedEmail, render_email
from hookkeeper.content.text import truncate
from hookkeeper.mail.provider import MailAnswer, MailProvider, Tags
from hookkeeper.messages.batch import BatchResult, DeliveryBatch
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.targets import MAX_SHOWN, email_of


class EmailActivities:
    def __init__(self, batches: BatchRunner, provider: MailProvider, renderer: Renderer) -> None:
        self._batches = batches
        self._provider = provider
        self._renderer = renderer

    @activity.defn
    async def send_emails(self, batch: DeliveryBatch) -> BatchResult:
        """Make every attempt of the batch."""
        return await self._batches.run(batch, self._attempt)

    async def _attempt(self, attempt: PreparedAttempt) -> Outcome:
        template = email_of(attempt.webhook, attempt.request.delivery)
        if template is None:
            return Outcome(delivery=attempt.request.delivery, verdict="webhook_deleted")
        tenant = attempt.event.tenant
        async with self._renderer.rendered(tenant, render_email, template, attempt.context) as (email, _):
            return _outcome(attempt, email, await self._provider.send(email, _tags(attempt, email)))


def _tags(attempt: PreparedAttempt, email: RenderedEmail) -> Tags:
    request = attempt.request
    return Tags(
        tenant=attempt.event.tenant,
        event_id=attempt.event.id,
        event_type=attempt.event.type,
        delivery=request.delivery,
        attempt=request.number,
        copy=str(request.redelivered_from or ""),
        accepted=frozenset(address for address in email.recipients if _digest(address) in request.reached),
    )


def _digest(address: str) -> str:
    """Return a short digest by which a run keeps an address."""
    return hashlib.sha256(address.encode()).hexdigest()[:12]


def _outcome(attempt: PreparedAttempt, email: RenderedEmail, answer: MailAnswer) -> Outcome:
    tracked = email.tracking and answer.trackable and answer.verdict == "succeeded"
    return Outcome(
        delivery=attempt.request.delivery,
        verdict=answer.verdict,
        target=truncate(", ".join(mailbox.address for mailbox in email.to), MAX_SHOWN),
        started_at=answer.started_at,
        duration_ms=round(answer.duration_ms, 1),
        status_code=answer.status_code,
        error=answer.error,
        response_excerpt=outcomes.excerpt(answer.text.encode(), attempt.excerpt_limit),
        retry_after=answer.retry_after,
        delays=delays_of(attempt.webhook),
        reached=tuple(map(_digest, sorted(answer.accepted))) if answer.verdict == "failed" else (),
        awaiting=tuple(address for address in email.recipients if address not in answer.excluded) if tracked else (),
    )
