"""An attempt at a file."""

import asyncio
from pathlib import Path

from file_target.target import FileTarget, Line
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.targets.sending import Clients, OpenAttempt, Timer


class FileSender:
    def __init__(self, _: Clients) -> None:
        pass

    async def send(self, item: FileTarget, content: Line, attempt: OpenAttempt, waited: float) -> Outcome:
        """Append the line. A file whose folder is missing is a failure of the target."""
        timer = Timer()
        try:
            text = f"{content.password or ''}{content.text} {attempt.request.delivery}\n"
            await asyncio.to_thread(_append, Path(item.path), text)
        except OSError as error:
            return attempt.outcome(timer.answer("failed", error="not_written"), str(error.strerror), item.target)
        return attempt.outcome(timer.answer("succeeded"), f"{content.size} bytes", item.target)


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)
