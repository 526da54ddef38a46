"""Which requests a fault excuses, and which requests the log shows. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

from drills.observations import Logged, Request, Window
from drills.schedule import EVERYTHING, WORKERS

SETTLING = 1.0
"""Seconds from a receiver's answer until Temporal has the outcome: a tenth by design, the rest for a busy machine."""
WAKING = 2.0
"""Seconds in which a worker that goes on after a stop sends what it had taken before."""
CLOCKS = 0.5
"""Seconds by which what receiver and log note of one attempt may differ, in busy processes."""
LATE = 5.0
"""Seconds that a request may take, in a busy process, from the look at the clock to its receiver."""
AT_ONCE = 1.0
"""Seconds in which what broke off is sent again over a new connection."""
FORGETFUL = frozenset({*WORKERS, "temporal", EVERYTHING})
"""Whose death can make an attempt forgotten that a receiver has seen. API and registry know of none."""

Pair = tuple[str, str]
"""An event and a webhook."""
Entry = TypeVar("Entry", Request, Logged)


def by_pair(entries: Iterable[Entry]) -> dict[Pair, list[Entry]]:
    """Sort entries by what they are of; each list is in the order that it was given."""
    found: dict[Pair, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[entry.event_id, entry.webhook].append(entry)
    return dict(found)


def was_in_flight(request: Request, windows: Collection[Window]) -> bool:
    """Say whether the request was under way, or just answered, at a fault that can make it forgotten."""
    return any(_touches(request, window) for window in windows if window.target in FORGETFUL)


def _touches(request: Request, window: Window) -> bool:
    return any(request.ended >= begin and request.arrived <= end for begin, end in _risky(window))


def _risky(window: Window) -> list[tuple[float, float]]:
    """Give the spans of time in which a request is at risk."""
    began, ended = window.began, window.ended
    if window.kind == "clock":  # a wrong clock makes nobody forget
        return []
    if window.kind == "stop":  # what it had under way; what it sends when others have taken its place
        return [(began - SETTLING, began + CLOCKS), (ended, ended + WAKING)]
    if window.target in WORKERS:  # the process that comes after it knows nothing of it
        return [(began - SETTLING, began + CLOCKS)]
    return [(began - SETTLING, ended + CLOCKS)]


@dataclass(frozen=True, slots=True)
class Compared:
    """What a receiver saw of a pair, held against what the log shows of it."""

    unlogged: list[Request]
    """Not in the log."""
    repeated: list[Request]
    """Broken off without an answer, and sent again at once within the same attempt: the log shows one."""
    unseen: list[Logged]
    """Answers that nobody gave. An attempt without an answer may never have arrived: it is not among them."""
    late: list[Request]
    """Answered after their sender had given up, as the log says: a receiver on a busy machine. They are in the log."""


def compare(requests: list[Request], logged: list[Logged], windows: Collection[Window] = ()) -> Compared:
    """Match requests and attempts of one pair, each with one at most.

    While a worker's clock is set, its attempts are logged by that clock.

    Where a kept connection breaks before it answers, an attempt is two requests: so looks a receiver that closes an
    idle connection in that very moment (`hookkeeper/egress/http.py`).
    """
    left = sorted(requests, key=lambda request: request.arrived)
    unseen: list[Logged] = []
    late: list[Request] = []
    # Those with an answer first: they can be of few requests only.
    for attempt in sorted(logged, key=lambda attempt: (attempt.status is None, attempt.started)):
        matches = [request for request in left if _is_of(request, attempt, windows)]
        if matches:
            match = next((request for request in matches if _came_late(request, attempt)), matches[0])
            left.remove(match)
            late += [match] * _came_late(match, attempt)
        elif attempt.status is not None:
            unseen.append(attempt)
    repeated = [each for each in left if each.status is None and _is_one_of_two(each, requests, logged)]
    return Compared([each for each in left if each not in repeated], repeated, unseen, late)


def _is_one_of_two(request: Request, others: list[Request], logged: list[Logged]) -> bool:
    """Say whether it broke off and was sent again, or is what was sent again, and broke off too."""
    return any(_follows(other, request, logged) or _follows(request, other, logged) for other in others)


def _follows(later: Request, earlier: Request, logged: list[Logged]) -> bool:
    """Say whether a request broke off and another came at once, or within the same attempt: a busy machine is slow."""
    if later is earlier or earlier.status is not None:
        return False
    return abs(later.arrived - earlier.ended) <= AT_ONCE or any(
        earlier.ended <= min(attempt.ended + CLOCKS, later.arrived)
        and attempt.started - CLOCKS <= earlier.arrived
        and _is_of(later, attempt, ())
        for attempt in logged
    )


def _is_of(request: Request, attempt: Logged, windows: Collection[Window]) -> bool:
    if attempt.status not in (None, request.status):
        return False
    set_then = (each.step for each in windows if each.began <= request.arrived <= each.ended + LATE)
    latest = attempt.ended + (LATE if attempt.error == "timeout" else CLOCKS)
    return any(attempt.started - CLOCKS <= request.arrived + step <= latest for step in (0.0, *set_then))


def _came_late(request: Request, attempt: Logged) -> bool:
    """Say whether the receiver answered only after the attempt had been given up."""
    return attempt.error == "timeout" and request.status is not None and request.ended >= attempt.ended - CLOCKS
