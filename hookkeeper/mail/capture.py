"""The outbox: a folder where developers find the emails that nobody sends."""

import asyncio
import secrets
from pathlib import Path

from hookkeeper.content.emails import RenderedEmail
from hookkeeper.mail.mime import email_of, file_name
from hookkeeper.mail.provider import Clock, MailAnswer, Tags, sender_of


class Outbox:
    """Keeps each letter as `<event>.<delivery>.<attempt>.eml`, which mail programs and editors open.

    Of alerts, and of what a person sends again, a code stands before the attempt.
    Raises ValueError for a sender that cannot be one.
    """

    def __init__(self, folder: Path, *, sender: str) -> None:
        self._folder = folder
        self._sender = sender_of(sender)

    async def send(self, letter: RenderedEmail, tags: Tags) -> MailAnswer:
        """Write the letter down. Raises OSError where that cannot be done."""
        clock = Clock()
        name = f"{file_name(tags)}.{tags.attempt}.eml"
        await asyncio.to_thread(self._write, name, email_of(letter, tags, self._sender, draft=True))
        text = f"not sent: no email provider is set; kept as {self._folder.name}/{name}"
        return clock.answer("succeeded", text=text)

    def _write(self, name: str, content: bytes) -> None:
        """Put a whole file there or none, and follow no link that somebody else may have put there."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._folder.is_symlink():
            raise OSError(f"the outbox {self._folder} is a symbolic link")
        unfinished = self._folder / f".{secrets.token_hex(8)}.tmp"
        try:
            with unfinished.open("xb") as file:
                file.write(content)
            unfinished.replace(self._folder / name)
        finally:
            unfinished.unlink(missing_ok=True)
