"""The email channel: a message of a webhook, rendered for the event, to a mail provider."""

import hashlib

from temporalio import activity

from activities.memory_budget import request_memory
from activities.rounds import Job, Round, RoundResult, Rounds, delays_of
from hookkeeper import outcomes
from hookkeeper.content.emails import RenderedEmail, render_email
from hookkeeper.mail.provider import MailAnswer, MailProvider, Tags
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.targets import email_of, shortened
from hookkeeper.sandbox.pool import Sandbox


class EmailActivities:
    """Emails of webhooks."""

    def __init__(self, rounds: Rounds, provider: MailProvider, sandbox: Sandbox) -> None:
        self._rounds = rounds
        self._provider = provider
        self._sandbox = sandbox

    @activity.defn(name="send_emails")
    async def send(self, round_: Round) -> RoundResult:
        """Make every attempt of the round."""
        return await self._rounds.make(round_, self._attempt)

    async def _attempt(self, job: Job) -> Outcome:
        email = email_of(job.webhook, job.order.delivery)
        if email is None:
            return Outcome(delivery=job.order.delivery, verdict="webhook_deleted")
        tenant, memory = job.event.tenant, self._rounds.memory
        async with memory.request(tenant) as reservation:
            letter = await self._sandbox.for_(tenant).call(render_email, email, job.context, memory.max_body_bytes)
            reservation.shrink_to(request_memory(letter.size))
            return _outcome(job, letter, await self._provider.send(letter, _tags(job, letter)))


def _tags(job: Job, letter: RenderedEmail) -> Tags:
    order = job.order
    return Tags(
        tenant=job.event.tenant,
        event_id=job.event.id,
        event_type=job.event.type,
        delivery=order.delivery,
        attempt=order.number,
        copy=str(order.redelivered_from or ""),
        taken=frozenset(each for each in letter.recipients if _digest(each) in order.reached),
    )


def _digest(address: str) -> str:
    """Stand for an address in what a run carries along: short, however long the address is."""
    return hashlib.sha256(address.encode()).hexdigest()[:12]


def _outcome(job: Job, letter: RenderedEmail, answer: MailAnswer) -> Outcome:
    tracked = letter.tracking and answer.trackable and answer.verdict == "succeeded"
    return Outcome(
        delivery=job.order.delivery,
        verdict=answer.verdict,
        target=shortened(", ".join(mailbox.address for mailbox in letter.to)),
        started_at=answer.started_at,
        duration_ms=round(answer.duration_ms, 1),
        status_code=answer.status_code,
        error=answer.error,
        response_excerpt=outcomes.excerpt(answer.text.encode(), job.excerpt_limit),
        retry_after=answer.retry_after,
        delays=delays_of(job.webhook),
        reached=tuple(map(_digest, sorted(answer.taken))) if answer.verdict == "failed" else (),
        awaiting=tuple(each for each in letter.recipients if each not in answer.left_out) if tracked else (),
    )
