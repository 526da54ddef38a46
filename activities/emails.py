"""The email channel: a message of a webhook, rendered for the event, to a mail provider."""

from temporalio import activity

from activities import outcomes
from activities.mail.provider import MailAnswer, MailProvider, Tags
from activities.outcomes import Outcome
from activities.rounds import Job, Round, RoundResult, Rounds, delays_of
from elements.emails import Letter, letter_of
from elements.sandbox import Sandbox
from registry.targets import part


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
        email = part(job.order.delivery, job.webhook.emails)
        if email is None:
            return Outcome(delivery=job.order.delivery, verdict="webhook_deleted")
        letter = await self._sandbox.call(letter_of, email, job.context)
        tags = Tags(job.event.tenant, job.event.id, job.event.type, job.order.delivery, job.order.number)
        return _outcome(job, letter, await self._provider.send(letter, tags))


def _outcome(job: Job, letter: Letter, answer: MailAnswer) -> Outcome:
    tracked = letter.tracking and answer.trackable and answer.verdict == "succeeded"
    return Outcome(
        delivery=job.order.delivery,
        verdict=answer.verdict,
        target=", ".join(mailbox.address for mailbox in letter.to),
        started_at=answer.started_at,
        duration_ms=round(answer.duration_ms, 1),
        status_code=answer.status_code,
        error=answer.error,
        response_excerpt=outcomes.excerpt(answer.text.encode(), job.excerpt_limit),
        retry_after=answer.retry_after,
        delays=delays_of(job.webhook),
        awaiting=tuple(each for each in letter.recipients if each not in answer.left_out) if tracked else (),
    )
