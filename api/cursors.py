"""Signed cursors of lists: a cursor that no list gave is refused here, before the registry or Temporal has to read it.

The key is derived from the admin key, which all API processes share. Cursors from before a new admin key are refused.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request
from pydantic import Field

from api.fields import Page
from api.problems import BadField, Malformed

SIGNATURE_BYTES = 16
MAX_LENGTH = 4096
"""Characters of a cursor."""
PURPOSE = b"hookkeeper cursor\0"
Item = TypeVar("Item")
CursorText = Annotated[str, Field(json_schema_extra={"maxLength": MAX_LENGTH})]
"""The limit is only documented here: a longer cursor is answered with 400, like any other that no list gave."""


class PageCursor:
    """Where a page begins, and what writes down where the next one does."""

    def __init__(self, key: bytes, path: str, given: str | None) -> None:
        self._key, self._path = key, path
        self.start = None if given is None else self._verified(given)

    def page(self, items: Sequence[Item], end: str | None) -> Page[Item]:
        """Make a page; `end` is where the next one begins."""
        return Page(items=list(items), next_cursor=None if end is None else self._signed(end))

    def _signed(self, text: str) -> str:
        return base64.urlsafe_b64encode(self._signature(text.encode()) + text.encode()).decode().rstrip("=")

    def _verified(self, cursor: str) -> str:
        if len(cursor) > MAX_LENGTH:
            raise bad_cursor()
        try:
            signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            signature, text = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
            if hmac.compare_digest(signature, self._signature(text)):
                return text.decode()
        except ValueError:
            pass
        raise bad_cursor()

    def _signature(self, text: bytes) -> bytes:
        signed = self._path.encode() + b"\0" + text
        return hmac.new(self._key, signed, hashlib.sha256).digest()[:SIGNATURE_BYTES]


def bad_cursor() -> Malformed:
    return Malformed(
        "The cursor is not one that this list gave.",
        [BadField(path="cursor", detail="not a cursor that this list gave")],
    )


def cursor_key(admin_key: str) -> bytes:
    """Derive the key that signs cursors."""
    return hmac.new(admin_key.encode(), PURPOSE, hashlib.sha256).digest()


async def _page_cursor(
    request: Request,
    cursor: Annotated[CursorText | None, Query(description="`next_cursor` of the previous page")] = None,
) -> PageCursor:
    return PageCursor(request.app.state.cursor_key, request.url.path, cursor)


Cursor = Annotated[PageCursor, Depends(_page_cursor)]
