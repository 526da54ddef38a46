"""What counters of the index say: sums, a success rate, and percentiles of latencies. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from hookkeeper.registry.index.rollup import LATENCIES, LATENCY_BOUNDS


class Measures:
    """The counters of a group, or of one step of it."""

    __slots__ = ("_counters",)

    def __init__(self, counters: Mapping[str, int]) -> None:
        self._counters = counters

    @classmethod
    def total(cls, parts: Iterable["Measures"]) -> "Measures":
        """Add the counters up."""
        counters: Counter[str] = Counter()
        for part in parts:
            counters.update(part._counters)
        return cls(counters)

    def __getitem__(self, counter: str) -> int:
        return self._counters.get(counter, 0)

    @property
    def success_rate(self) -> float | None:
        """The share of succeeded deliveries in those that succeeded or failed; None if there are none."""
        succeeded, failed = self["deliveries_succeeded"], self["deliveries_failed"]
        return succeeded / (succeeded + failed) if succeeded + failed else None

    def latency(self, share: float) -> float | None:
        """Return the milliseconds that this share of the attempts does not exceed; None without attempts."""
        return percentile([self[name] for name in LATENCIES], share)


def percentile(buckets: Sequence[int], share: float) -> float | None:
    """Return a percentile of a latency histogram, interpolated within its bucket; None for an empty one.

    The last bucket has no upper bound: for a percentile in it, its lower bound is returned.
    """
    rank = share * sum(buckets)
    below = 0
    for count, low, high in zip(buckets, (0, *LATENCY_BOUNDS), (*LATENCY_BOUNDS, LATENCY_BOUNDS[-1]), strict=True):
        if count and below + count >= rank:
            return low + (high - low) * (rank - below) / count
        below += count
    return None
