"""Judges a drill by what was observed: what was lost or delivered twice, and which faults excuse that. Pure."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from drills.observations import Logged, Observations, ReceivedRequest, Window
from drills.schedule import EVERYTHING
from drills.shape import POSTGRESQL, WORKERS

RECORDING_TIME = 2.0
"""Seconds from a receiver's response until Temporal has the outcome: 0.1 s by design, the rest for a busy machine.
Up to 1.6 s were seen while an API process took 8 s to start."""
RESUMING_TIME = 2.0
"""Seconds in which a worker that continues after a stop sends requests of tasks it had before."""
TIME_TOLERANCE = 0.5
"""Seconds by which the times of receiver and log may differ for one attempt."""
MAX_TRANSIT_TIME = 5.0
"""Seconds that a request may take, in a busy process, from reading the clock to its receiver."""
RESEND_TIME = 1.0
"""Seconds in which a request is sent again on a new connection after its connection broke."""
CAUSES_OF_REPETITION = (*WORKERS, "temporal", POSTGRESQL, EVERYTHING)
"""How targets begin whose faults can lose the outcome of a request. API and registry have no outcomes."""

Pair = tuple[str, str]
"""An event and a webhook."""
Entry = TypeVar("Entry", ReceivedRequest, Logged)

FINAL = frozenset({"succeeded", "failed", "cancelled", "no_webhook"})


def by_pair(entries: Iterable[Entry]) -> dict[Pair, list[Entry]]:
    """Group entries by event and webhook, in their order."""
    found: dict[Pair, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[entry.event_id, entry.webhook].append(entry)
    return dict(found)


def was_in_flight(request: ReceivedRequest, windows: Collection[Window]) -> bool:
    """Whether the request was in flight, or just answered, at a fault that can lose its outcome."""
    return any(_touches(request, window) for window in windows if window.target.startswith(CAUSES_OF_REPETITION))


def _touches(request: ReceivedRequest, window: Window) -> bool:
    return any(request.ended >= begin and request.arrived <= end for begin, end in _risky(window))


def _risky(window: Window) -> list[tuple[float, float]]:
    """Return the intervals in which the outcome of a request can be lost."""
    began, ended = window.began, window.ended
    if window.kind == "clock":  # a wrong clock loses no outcome
        return []
    if window.kind == "stop":  # requests in flight, and those it sends after another worker has taken over
        return [(began - RECORDING_TIME, began + TIME_TOLERANCE), (ended, ended + RESUMING_TIME)]
    if window.target in WORKERS:  # the next process does not know the outcome
        return [(began - RECORDING_TIME, began + TIME_TOLERANCE)]
    return [(began - RECORDING_TIME, ended + TIME_TOLERANCE)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences between a receiver's requests and the log."""

    unlogged: list[ReceivedRequest]
    """Not in the log."""
    repeated: list[ReceivedRequest]
    """Sent again at once within the same attempt, because the connection broke without a response."""
    unseen: list[Logged]
    """Responses in the log that no receiver gave. Attempts without a response may never have arrived."""
    late: list[ReceivedRequest]
    """Answered after the attempt had timed out according to the log."""


def compare(requests: list[ReceivedRequest], logged: list[Logged], windows: Collection[Window] = ()) -> Comparison:
    """Match requests with attempts of the same event and webhook, one to one.

    While a worker's clock is set, the log has times of that clock. If a kept connection breaks before the response,
    one attempt has two requests: the receiver may have closed an idle connection (`hookkeeper/egress/http.py`).
    """
    left = sorted(requests, key=lambda request: request.arrived)
    unseen: list[Logged] = []
    late: list[ReceivedRequest] = []
    # Attempts with a response first: fewer requests match them.
    for attempt in sorted(logged, key=lambda attempt: (attempt.status is None, attempt.started)):
        matches = [request for request in left if _is_of(request, attempt, windows)]
        if matches:
            match = min(matches, key=lambda request: (not _hung(request, attempt), not _came_late(request, attempt)))
            left.remove(match)
            late += [match] * _came_late(match, attempt)
        elif attempt.status is not None:
            unseen.append(attempt)
    repeated = [request for request in left if request.status is None and _is_one_of_two(request, requests, logged)]
    return Comparison([request for request in left if request not in repeated], repeated, unseen, late)


def _is_one_of_two(request: ReceivedRequest, others: list[ReceivedRequest], logged: list[Logged]) -> bool:
    """Whether its connection broke and it was sent again, or it is the second request and its connection broke too."""
    return any(_follows(other, request, logged) or _follows(request, other, logged) for other in others)


def _follows(later: ReceivedRequest, earlier: ReceivedRequest, logged: list[Logged]) -> bool:
    """Whether the connection of `earlier` broke and `later` came at once, or within the same attempt."""
    if later is earlier or earlier.status is not None:
        return False
    return abs(later.arrived - earlier.ended) <= RESEND_TIME or any(
        earlier.ended <= min(attempt.ended + TIME_TOLERANCE, later.arrived)
        and attempt.started - TIME_TOLERANCE <= earlier.arrived
        and _is_of(later, attempt, ())
        for attempt in logged
    )


def _is_of(request: ReceivedRequest, attempt: Logged, windows: Collection[Window]) -> bool:
    if attempt.status not in (None, request.status):
        return False
    steps = (window.step for window in windows if window.began <= request.arrived <= window.ended + MAX_TRANSIT_TIME)
    latest = attempt.ended + (MAX_TRANSIT_TIME if attempt.error == "timeout" else TIME_TOLERANCE)
    return any(attempt.started - TIME_TOLERANCE <= request.arrived + step <= latest for step in (0.0, *steps))


def _hung(request: ReceivedRequest, attempt: Logged) -> bool:
    """Whether the receiver gave no response until the attempt timed out."""
    return attempt.error == "timeout" and request.status is None and request.ended >= attempt.ended - TIME_TOLERANCE


def _came_late(request: ReceivedRequest, attempt: Logged) -> bool:
    """Whether the receiver answered after the attempt had timed out."""
    return attempt.error == "timeout" and request.status is not None and request.ended >= attempt.ended - TIME_TOLERANCE


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a drill."""

    counts: Mapping[str, int]
    """By what the table of the drill calls them."""
    failures: Mapping[str, tuple[str, ...]]
    """Descriptions by kind."""
    longest: float
    """Maximum seconds from acceptance to delivery."""
    faults: Counter[str]


def judge(observed: Observations) -> Verdict:
    """Compare what was observed.

    A delivery is lost that no receiver accepted, and an event is stuck that is not `succeeded`. What a receiver
    accepted again needs a fault that explains it, as does a request that is not in the log.
    """
    wanted, comparison = _wanted(observed), _compare_with_log(observed)
    late = set(comparison.late)  # answered after the attempt had timed out: not accepted
    deliveries = [request for request in observed.requests if request.is_delivery and request not in late]
    delivered = by_pair(deliveries)
    repeated = [requests[: n + 1] for requests in delivered.values() for n in range(1, len(requests))]

    def in_flight(request: ReceivedRequest) -> bool:
        return was_in_flight(request, observed.windows)

    at_faults = sum(map(in_flight, deliveries))
    unexplained = tuple(_describe(requests[-1]) for requests in repeated if not any(map(in_flight, requests)))
    unlogged = tuple(_describe(request) for request in comparison.unlogged if not in_flight(request))
    failures = {
        "lost": tuple(" ".join(pair) for pair in wanted if pair not in delivered),
        "stuck": _stuck(observed),
        "duplicates without a fault": unexplained,
        "requests that are not in the log": unlogged,
        "responses that no receiver gave": tuple(map(_describe, comparison.unseen)),
        "altered": _altered(observed),
        "never accepted": observed.unaccepted,
        "refused": observed.refused,
        "changes lost": observed.changes_lost,
    }
    counts = {
        "events accepted": len(observed.accepted),
        "deliveries made": sum(pair in delivered for pair in wanted),
        "lost": len(failures["lost"]),
        "stuck": len(failures["stuck"]),
        "duplicates": len(repeated),
        "  explained by a fault": len(repeated) - len(unexplained),
        "  unexplained": len(unexplained),
        "in flight at faults": at_faults,
        "requests not in the log": len(comparison.unlogged),
        "  unexplained, not in the log": len(unlogged),
        "requests sent again at once": len(comparison.repeated),
        "late responses": len(late),
        "responses that no receiver gave": len(comparison.unseen),
        "changes of a webhook accepted": observed.changes,
        "changes lost": len(observed.changes_lost),
    }
    if len(repeated) > at_faults:
        failures["duplicates"] = (f"{len(repeated)}, and {at_faults} in flight at faults",)
    if not observed.accepted:
        failures["accepted"] = ("no event was accepted",)
    longest = max((delivered[pair][0].ended - at for pair, at in wanted.items() if pair in delivered), default=0.0)
    faults = Counter(map(name_of, observed.windows))
    return Verdict(counts, {name: found for name, found in failures.items() if found}, longest, faults)


def name_of(window: Window) -> str:
    """Name a fault, with its target unless the kind has only one."""
    return window.kind if window.kind in ("kill everything", "disk full") else f"{window.kind} {window.target}"


def _wanted(observed: Observations) -> dict[Pair, float]:
    """Return each delivery that has to be made, and when its event was accepted."""
    return {(event.event_id, webhook): event.at for event in observed.accepted for webhook in observed.webhooks}


def _stuck(observed: Observations) -> tuple[str, ...]:
    found = ((event.event_id, observed.statuses.get(event.event_id, "unreadable")) for event in observed.accepted)
    return tuple(f"{event_id} {status}" for event_id, status in found if status != "succeeded")


def _compare_with_log(observed: Observations) -> Comparison:
    requests, logged = by_pair(observed.requests), by_pair(observed.logged)
    whole = Comparison([], [], [], [])
    for pair in requests.keys() | logged.keys():
        if observed.statuses.get(pair[0]) in FINAL:  # other events were not accepted, or are reported as stuck
            found = compare(requests.get(pair, []), logged.get(pair, []), observed.windows)
            whole.unlogged.extend(found.unlogged)
            whole.repeated.extend(found.repeated)
            whole.unseen.extend(found.unseen)
            whole.late.extend(found.late)
    return whole


def _altered(observed: Observations) -> tuple[str, ...]:
    sent = {event.event_id: event.digest for event in observed.accepted}
    return tuple(
        _describe(request)
        for request in observed.requests
        if sent.get(request.event_id, request.digest) != request.digest
    )


def _describe(entry: ReceivedRequest | Logged) -> str:
    at = entry.arrived if isinstance(entry, ReceivedRequest) else entry.started
    return f"{entry.event_id} {entry.webhook} {entry.status or 'no response'} at {at:.3f}"
