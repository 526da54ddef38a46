"""What was too costly a few times in a row is not tried again for a while: each try takes time that others wait for."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from hookkeeper.content.faults import TooCostlyLately

IN_A_ROW = 3
REST_SECONDS = 60.0
MAX_KNOWN = 10_000


@dataclass(slots=True)
class _Known:
    times: int = 0
    until: float = 0.0


class Breaker:
    """Remembers what was too costly, by a digest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def check(self, what: bytes) -> None:
        """Raise TooCostlyLately for what rests now."""
        known = self._known.get(_digest(what))
        if known and self._clock() < known.until:
            raise TooCostlyLately(f"was too costly {IN_A_ROW} times in a row, and is suspended for {REST_SECONDS:g} s")

    def costly(self, what: bytes) -> None:
        """Hear that it was too costly; from the third time in a row on, it rests after each."""
        key = _digest(what)
        known = self._known.pop(key, None) or _Known()
        known.times += 1
        if known.times >= IN_A_ROW:
            known.until = self._clock() + REST_SECONDS
        self._known[key] = known
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def fine(self, what: bytes) -> None:
        """Hear that it was not."""
        self._known.pop(_digest(what), None)


def _digest(what: bytes) -> bytes:
    return hashlib.blake2b(what, digest_size=16).digest()
