"""Success rates, and percentiles of latency histograms."""

import random
from bisect import bisect_left
from math import ceil

from cases import each
from hookkeeper.registry.events.rollup import LATENCIES, LATENCY_BOUNDS
from hookkeeper.registry.events.statistics import Measures, percentile

EMPTY = [0] * len(LATENCIES)


def histogram(**counts: int) -> list[int]:
    """Return a histogram with these counts: `_20` is the bucket that ends at 20 ms, `above` the last one."""
    buckets = EMPTY.copy()
    for name, count in counts.items():
        buckets[-1 if name == "above" else LATENCY_BOUNDS.index(int(name[1:]))] = count
    return buckets


@each(
    ("buckets", "share", "milliseconds"),
    [
        (EMPTY, 0.5, None),
        (histogram(_5=1), 0.5, 2.5),
        (histogram(_5=1), 1.0, 5.0),
        (histogram(_20=4), 0.25, 12.5),
        (histogram(_20=4), 0.5, 15.0),
        (histogram(_20=4), 1.0, 20.0),
        (histogram(_10=50, _1000=50), 0.5, 10.0),
        (histogram(_10=50, _1000=50), 0.75, 875.0),
        (histogram(_10=95, _30000=5), 0.95, 10.0),
        (histogram(_10=95, _30000=5), 0.99, 27_000.0),
        (histogram(_10=1, above=1), 0.99, 30_000.0),
        (histogram(above=7), 0.5, 30_000.0),
        (histogram(_10=1), 0.0, 5.0),
    ],
)
def test_a_percentile_is_interpolated_within_its_bucket(
    buckets: list[int], share: float, milliseconds: float | None
) -> None:
    assert percentile(buckets, share) == milliseconds


def test_a_percentile_is_in_the_bucket_of_the_exact_one() -> None:
    chosen = random.Random(7)
    latencies = sorted(chosen.lognormvariate(5, 1) for _ in range(5000))
    buckets = EMPTY.copy()
    for latency in latencies:
        buckets[bisect_left(LATENCY_BOUNDS, latency)] += 1
    for share in (0.5, 0.95, 0.99):
        found, exact = percentile(buckets, share), latencies[ceil(share * len(latencies)) - 1]
        assert found is not None
        assert bisect_left(LATENCY_BOUNDS, found) == bisect_left(LATENCY_BOUNDS, exact)


@each(
    ("succeeded", "failed", "retrying", "rate"),
    [(0, 0, 0, None), (3, 1, 0, 0.75), (0, 2, 0, 0.0), (5, 0, 0, 1.0), (6, 1, 3, 0.6), (0, 0, 1, 0.0)],
)
def test_the_success_rate_counts_a_delivery_as_not_delivered_while_it_retries(
    succeeded: int, failed: int, retrying: int, rate: float | None
) -> None:
    counters = {"deliveries_succeeded": succeeded, "deliveries_failed": failed, "retrying": retrying}
    assert Measures(counters | {"deliveries_cancelled": 9}).success_rate == rate


@each(("attempts", "succeeded", "rate"), [(0, 0, None), (826, 546, 280 / 826), (2, 2, 0.0)])
def test_the_error_rate_is_of_attempts(attempts: int, succeeded: int, rate: float | None) -> None:
    assert Measures({"attempts": attempts, "succeeded": succeeded}).error_rate == rate


def test_totals_add_up() -> None:
    total = Measures.total([Measures({"attempts": 2, "latency_0": 2}), Measures({"attempts": 1, "latency_3": 1})])
    assert (total["attempts"], total["latency_0"], total["latency_3"], total["events"]) == (3, 2, 1, 0)
