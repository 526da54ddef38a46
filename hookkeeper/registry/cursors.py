"""Where a list goes on that is ordered by time and id, newest first."""

import base64
import re
from datetime import datetime

CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+\+00:00) ([\w-]+)", re.ASCII)


class BadCursor(ValueError):
    """The cursor is not one that a list of the registry gave out."""


def write_cursor(at: datetime, last_id: str) -> str:
    """Name the last row of a page by what pages are ordered by."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {last_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Give time and id of the last row of the page before. Raises BadCursor."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        if (match := CURSOR.fullmatch(text)) is None:
            raise ValueError(text)
        return datetime.fromisoformat(match[1]), match[2]
    except ValueError as fault:
        raise BadCursor("invalid cursor") from fault
