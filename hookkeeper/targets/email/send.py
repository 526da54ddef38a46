"""An attempt at an email: it goes to the mail provider."""

import hashlib

from hookkeeper.content.emails import Email, RenderedEmail
from hookkeeper.content.text import truncate
from hookkeeper.kind import MAX_SHOWN
from hookkeeper.mail.provider import Tags
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.targets.sending import Clients, OpenAttempt


class EmailSender:
    def __init__(self, clients: Clients) -> None:
        self._provider = clients.mail

    async def send(self, item: Email, content: RenderedEmail, attempt: OpenAttempt, waited: float) -> Outcome:
        """Send the email to the recipients that no earlier attempt has reached."""
        answer = await self._provider.send(content, _tags(attempt, content))
        target = truncate(", ".join(mailbox.address for mailbox in content.to), MAX_SHOWN)
        outcome = attempt.outcome(answer, answer.text, target)
        if answer.verdict == "failed":
            return outcome.model_copy(update={"reached": tuple(map(_digest, sorted(answer.accepted)))})
        if answer.verdict == "succeeded" and content.tracking and answer.trackable:
            awaiting = tuple(address for address in content.recipients if address not in answer.excluded)
            return outcome.model_copy(update={"awaiting": awaiting})
        return outcome


def _tags(attempt: OpenAttempt, email: RenderedEmail) -> Tags:
    request, event = attempt.request, attempt.event
    return Tags(
        tenant=event.tenant,
        event_id=event.id,
        event_type=event.type,
        delivery=request.delivery,
        attempt=request.number,
        copy=str(request.redelivered_from or ""),
        accepted=frozenset(address for address in email.recipients if _digest(address) in request.reached),
    )


def _digest(address: str) -> str:
    """Return a short digest by which a run keeps an address."""
    return hashlib.sha256(address.encode()).hexdigest()[:12]
