"""The email channel: a webhook's email, rendered for the event, to the mail provider."""

import hashlib
from dataclasses import replace

from temporalio import activity

from activities.attempts import PreparedAttempt
from activities.delivery_batch import BatchRunner
from activities.rendering import Renderer
from hookkeeper.content.emails import RenderedEmail, render_email
from hookkeeper.content.text import truncate
from hookkeeper.mail.provider import AttemptTimer, MailAnswer, MailProvider, Tags, without
from hookkeeper.messages.batch import BatchResult, DeliveryBatch
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.registry.suppressions import Suppressions
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
        async with self._renderer.rendered(attempt.tenant, render_email, template, attempt.context) as (email, _):
            return _outcome(attempt, email, await self._provider.send(email, _tags(attempt, email)))


def _tags(attempt: PreparedAttempt, email: RenderedEmail) -> Tags:
    request = attempt.request
    return Tags(
        tenant=attempt.tenant,
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
    target = truncate(", ".join(mailbox.address for mailbox in email.to), MAX_SHOWN)
    outcome = attempt.outcome(answer, target, answer.text)
    if answer.verdict == "failed":
        return outcome.model_copy(update={"reached": tuple(map(_digest, sorted(answer.accepted)))})
    if answer.verdict == "succeeded" and email.tracking and answer.trackable:
        awaiting = tuple(address for address in email.recipients if address not in answer.excluded)
        return outcome.model_copy(update={"awaiting": awaiting})
    return outcome


class SuppressingProvider:
    """Checks the suppression list before each email is sent."""

    def __init__(self, provider: MailProvider, suppressions: Suppressions) -> None:
        self._provider = provider
        self._suppressions = suppressions

    async def send(self, email: RenderedEmail, tags: Tags) -> MailAnswer:
        """Send to the recipients that are not suppressed; `rejected` if none of `to` remain.

        Recipients of an earlier attempt still appear in the headers.
        """
        timer = AttemptTimer()
        pending = frozenset(email.recipients) - tags.accepted
        suppressed = frozenset(await self._suppressions.among(tags.tenant, pending))
        remaining = without(email, suppressed)
        if not remaining.to:
            text = "not sent: every address in `to` is on the suppression list"
            return timer.answer("rejected", error="suppressed", text=text, excluded=suppressed)
        if suppressed == pending:
            answer = timer.answer("succeeded", text="not sent: all other recipients already have the email")
        else:
            answer = await self._provider.send(remaining, tags)
        if not suppressed:
            return answer
        text = f"{answer.text}\nnot sent to {', '.join(sorted(suppressed))}: on the suppression list"
        return replace(answer, text=text.strip(), excluded=answer.excluded | suppressed)
