"""How many requests this process has in flight to each webhook, so that one that hangs cannot occupy all slots."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class WebhookConcurrency:
    def __init__(self, limit: int) -> None:
        """`limit`: requests to one webhook at once; twice as many with those of the rate-limited queue."""
        self.limit = limit
        self._in_flight: Counter[str] = Counter()

    @contextmanager
    def request(self, webhook_id: str, *, limited: bool) -> Iterator[bool]:
        """Count a request for the length of the block; yield whether it is within the limit."""
        self._in_flight[webhook_id] += 1
        try:
            yield self._in_flight[webhook_id] <= self.limit * (2 if limited else 1)
        finally:
            self._in_flight[webhook_id] -= 1
            if not self._in_flight[webhook_id]:
                del self._in_flight[webhook_id]
