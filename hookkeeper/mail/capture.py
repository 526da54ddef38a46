"""Writes emails to a folder instead of sending them, for development without a provider."""

import asyncio
import os
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from hookkeeper.content.emails import RenderedEmail
from hookkeeper.findings import Finding, well, wrong
from hookkeeper.mail.mime import file_name, mime_of
from hookkeeper.mail.provider import AttemptTimer, MailAnswer, Tags, parse_sender


class EmailCapture:
    """Writes each email as `<event>.<delivery>.<attempt>.eml`, which mail programs and editors open.

    In the names of alerts and redeliveries, a code precedes the attempt.
    Raises ValueError for an invalid sender.
    """

    def __init__(self, folder: Path, *, sender: str) -> None:
        self._folder = folder
        self._sender = parse_sender(sender)

    async def send(self, email: RenderedEmail, tags: Tags) -> MailAnswer:
        """Write the email to a file. Raises OSError."""
        timer = AttemptTimer()
        name = f"{file_name(tags)}.{tags.attempt}.eml"
        await asyncio.to_thread(self._write, name, mime_of(email, tags, self._sender, draft=True))
        text = f"not sent: no email provider is set; saved as {self._folder.name}/{name}"
        return timer.answer("succeeded", text=text)

    async def check(self, now: datetime) -> Sequence[Finding]:
        """Find a folder that cannot be written."""
        nearest = next(folder for folder in (self._folder, *self._folder.absolute().parents) if folder.exists())
        if not os.access(nearest, os.W_OK):
            return wrong(f"{nearest} cannot be written", "correct HOOKKEEPER_EMAIL_CAPTURE_DIR, or its owner")
        return well(f"no provider is set: emails are written to {self._folder}")

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
