"""A mail provider that leaves out the addresses which are not to be written to."""

from dataclasses import replace

from activities.mail.provider import MailAnswer, MailProvider, Tags
from elements.emails import Letter
from registry.suppressions import Suppressions
from times import utc_now


class Suppressing:
    """Asks the suppression list before each letter; all else is the provider's."""

    def __init__(self, provider: MailProvider, suppressions: Suppressions) -> None:
        self._provider = provider
        self._suppressions = suppressions

    async def send(self, letter: Letter, tags: Tags) -> MailAnswer:
        """Send to those who may be written to; `rejected` where none of `to` is left."""
        suppressed = frozenset(await self._suppressions.among(tags.tenant, letter.recipients))
        if not suppressed:
            return await self._provider.send(letter, tags)
        kept = _without(letter, suppressed)
        if not kept.to:
            text = "not sent: every address is on the suppression list"
            return MailAnswer("rejected", utc_now(), 0.0, error="suppressed", text=text)
        answer = await self._provider.send(kept, tags)
        text = f"{answer.text}\nnot sent to {', '.join(sorted(suppressed))}: on the suppression list"
        return replace(answer, text=text.strip(), left_out=suppressed)


def _without(letter: Letter, addresses: frozenset[str]) -> Letter:
    kept = {
        field: tuple(mailbox for mailbox in getattr(letter, field) if mailbox.address.lower() not in addresses)
        for field in ("to", "cc", "bcc")
    }
    return letter.model_copy(update=kept)
