"""A circuit breaker: code that was too costly several times in a row is suspended for a while."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

from hookkeeper.content.errors import TooCostlyLately

MAX_FAILURES = 3
SUSPENSION_SECONDS = 60.0
MAX_ENTRIES = 10_000


@dataclass(slots=True)
class _Entry:
    failures: int = 0
    suspended_until: float = 0.0


class Breaker:
    """Counts consecutive failures, by digest of the code."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: LRUCache[bytes, _Entry] = LRUCache(MAX_ENTRIES)

    def check(self, code: bytes) -> None:
        """Raise TooCostlyLately for suspended code."""
        entry = self._entries.get(_digest(code))
        if entry and self._clock() < entry.suspended_until:
            raise TooCostlyLately(
                f"was too costly {MAX_FAILURES} times in a row, and is suspended for {SUSPENSION_SECONDS:g} s"
            )

    def costly(self, code: bytes) -> None:
        """Record that it was too costly; from the third time in a row on, suspend it."""
        entry = self._entries.setdefault(_digest(code), _Entry())
        entry.failures += 1
        if entry.failures >= MAX_FAILURES:
            entry.suspended_until = self._clock() + SUSPENSION_SECONDS

    def fine(self, code: bytes) -> None:
        """Record that it was not too costly."""
        self._entries.pop(_digest(code), None)


def _digest(code: bytes) -> bytes:
    return hashlib.blake2b(code, digest_size=16).digest()
