"""Percentiles of the times of a stream's events, in milliseconds."""

import math
from collections.abc import Sequence

from benchmarks.stream import Arrivals, Posted, Stream


def to_answer(posted: Posted) -> list[float]:
    """Return the time from sending each event to its answer; refused events are left out."""
    pairs = zip(posted.sent, posted.answered, strict=True)
    return [1e3 * (answered - sent) for sent, answered in pairs if answered is not None]


def to_socket(stream: Stream, posted: Posted, arrivals: Arrivals) -> list[float]:
    """Return the time from sending each event to its arrival; events that did not arrive are left out."""
    arrived = ((sent, arrivals.first.get(f"{stream.group}-{number}")) for number, sent in enumerate(posted.sent))
    return [1e3 * (at - sent) for sent, at in arrived if at is not None]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that this part of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def percentiles(name: str, values: Sequence[float], *percents: int) -> dict[str, float]:
    return {f"{name}_p{percent}_ms": percentile(values, percent) for percent in percents}
