"""A mail provider that leaves out the addresses which are not to be written to."""

from dataclasses import replace

from hookkeeper.content.emails import RenderedEmail
from hookkeeper.mail.provider import Clock, MailAnswer, MailProvider, Tags, without
from hookkeeper.registry.suppressions import Suppressions


class Suppressing:
    """Asks the suppression list before each letter; all else is the provider's."""

    def __init__(self, provider: MailProvider, suppressions: Suppressions) -> None:
        self._provider = provider
        self._suppressions = suppressions

    async def send(self, letter: RenderedEmail, tags: Tags) -> MailAnswer:
        """Send to those who may be written to and do not have it; `rejected` where `to` names nobody any more.

        Those who have it from an earlier attempt stay in what the others read.
        """
        clock = Clock()
        wanted = frozenset(letter.recipients) - tags.taken
        suppressed = frozenset(await self._suppressions.among(tags.tenant, wanted))
        kept = without(letter, suppressed)
        if not kept.to:
            text = "not sent: every address in `to` is on the suppression list"
            return clock.answer("rejected", error="suppressed", text=text, left_out=suppressed)
        if suppressed == wanted:
            answer = clock.answer("succeeded", text="not sent: all other recipients already have the email")
        else:
            answer = await self._provider.send(kept, tags)
        if not suppressed:
            return answer
        text = f"{answer.text}\nnot sent to {', '.join(sorted(suppressed))}: on the suppression list"
        return replace(answer, text=text.strip(), left_out=answer.left_out | suppressed)
