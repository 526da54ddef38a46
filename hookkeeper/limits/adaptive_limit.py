"""A limit that follows how busy a server is: it falls while the server answers slowly, and rises while it does not.

Additive increase, multiplicative decrease, as TCP finds its rate (RFC 5681, section 3.1).
"""

TARGET = 0.03
"""Seconds that an answer may take in any case."""
TOLERANCE = 2.0
"""Times the fastest recent answer that an answer may take: a server can be far away without being busy."""
FORGET = 1.001
"""Growth of the fastest recent answer with each further one, so that a server can become slower for good."""
DECREASE = 0.9


class AdaptiveLimit:
    """How many calls may be under way at once, between `lowest` and `highest`."""

    def __init__(self, lowest: int, highest: int) -> None:
        self._lowest, self._highest = lowest, highest
        self._limit = float(highest)
        self._fastest = float("inf")

    @property
    def value(self) -> int:
        return int(self._limit)

    def note(self, seconds: float) -> None:
        """Note how long an answer took."""
        self._fastest = min(self._fastest * FORGET, seconds)
        if seconds > max(TARGET, TOLERANCE * self._fastest):
            self._limit = max(self._limit * DECREASE, self._lowest)
        else:
            self._limit = min(self._limit + 1 / self._limit, self._highest)
