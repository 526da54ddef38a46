"""A concurrency limit that falls while a server responds slowly, and rises while it does not.

Additive increase, multiplicative decrease, as in TCP congestion control (RFC 5681, section 3.1).
"""

TARGET = 0.03
"""Seconds. A faster response never counts as slow."""
TOLERANCE = 2.0
"""A response counts as slow from this multiple of the fastest recent one: a remote server need not be busy."""
DECAY = 1.001
"""Factor by which the fastest time grows with each response, so that the limit adapts to a slower server."""
DECREASE = 0.5


class AdaptiveLimit:
    """Limits concurrent calls, between `lowest` and `highest`."""

    def __init__(self, lowest: int, highest: int) -> None:
        self._lowest, self._highest = lowest, highest
        self._limit = float(highest)
        self._fastest = float("inf")

    @property
    def value(self) -> int:
        return int(self._limit)

    def record(self, seconds: float) -> None:
        """Adjust the limit to the duration of a response."""
        self._fastest = min(self._fastest * DECAY, seconds)
        if seconds > max(TARGET, TOLERANCE * self._fastest):
            self._limit = max(self._limit * DECREASE, self._lowest)
        else:
            self._limit = min(self._limit + 1 / self._limit, self._highest)
