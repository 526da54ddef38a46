"""Page cursors of lists ordered by time and id, newest first."""

import base64
import re
from datetime import datetime

CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+\+00:00) ([\w-]+)", re.ASCII)


class BadRegistryCursor(ValueError):
    """The cursor is not one of a registry list."""


def write_cursor(at: datetime, last_id: str) -> str:
    """Return a cursor for the last row of a page."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {last_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Return time and id of the last row of the previous page. Raises BadRegistryCursor."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        if (match := CURSOR.fullmatch(text)) is None:
            raise ValueError(text)
        return datetime.fromisoformat(match[1]), match[2]
    except ValueError as fault:
        raise BadRegistryCursor("invalid cursor") from fault
