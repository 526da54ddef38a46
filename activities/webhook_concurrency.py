"""How many requests this process has under way to each webhook, so that one that hangs cannot take every place."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Crowds:
    """Counts the requests under way."""

    def __init__(self, at_most: int) -> None:
        """`at_most`: requests to one webhook at once, and twice as many with those of the limited queue."""
        self.at_most = at_most
        self._inside: Counter[str] = Counter()

    @contextmanager
    def joined(self, webhook_id: str, *, limited: bool) -> Iterator[bool]:
        """Count one more for the length of the block; say whether there was room for it."""
        self._inside[webhook_id] += 1
        try:
            yield self._inside[webhook_id] <= self.at_most * (2 if limited else 1)
        finally:
            self._inside[webhook_id] -= 1
            if not self._inside[webhook_id]:
                del self._inside[webhook_id]
