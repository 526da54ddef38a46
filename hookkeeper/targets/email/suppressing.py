"""The suppression list, in front of the mail provider."""

from dataclasses import replace

from hookkeeper.content.emails import RenderedEmail
from hookkeeper.mail.provider import AttemptTimer, MailAnswer, MailProvider, Tags, without
from hookkeeper.registry.suppressions import Suppressions


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
