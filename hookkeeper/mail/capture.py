"""Emails as files, for developers: without a provider, each email is written to a folder instead of being sent."""

import asyncio
import secrets
from pathlib import Path

from hookkeeper.content.emails import RenderedEmail
from hookkeeper.mail.mime import email_of, file_name
from hookkeeper.mail.provider import Clock, MailAnswer, Tags, sender_of


class EmailCapture:
    """Writes each email as `<event>.<delivery>.<attempt>.eml`, which mail programs and editors open.

    In the names of alerts and redeliveries, a code precedes the attempt.
    Raises ValueError for an invalid sender.
    """

    def __init__(self, folder: Path, *, sender: str) -> None:
        self._folder = folder
        self._sender = sender_of(sender)

    async def send(self, letter: RenderedEmail, tags: Tags) -> MailAnswer:
        """Write the email to a file. Raises OSError."""
        clock = Clock()
        name = f"{file_name(tags)}.{tags.attempt}.eml"
        await asyncio.to_thread(self._write, name, email_of(letter, tags, self._sender, draft=True))
        text = f"not sent: no email provider is set; saved as {self._folder.name}/{name}"
        return clock.answer("succeeded", text=text)

    def _write(self, name: str, content: bytes) -> None:
        """Write the whole file or nothing, and follow no symbolic link that another user may have created."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._folder.is_symlink():
            raise OSError(f"the email capture folder {self._folder} is a symbolic link")
        unfinished = self._folder / f".{secrets.token_hex(8)}.tmp"
        try:
            with unfinished.open("xb") as file:
                file.write(content)
            unfinished.replace(self._folder / name)
        finally:
            unfinished.unlink(missing_ok=True)
