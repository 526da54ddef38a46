"""Judges a drill by what was observed. Pure."""

from collections import Counter
from dataclasses import dataclass, field

from drills.excuses import Comparison, Pair, by_pair, compare, was_in_flight
from drills.observations import Logged, Observations, ReceivedRequest, Window

FINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a drill. Each tuple describes failures."""

    accepted: int
    delivered: int
    """Deliveries that a receiver accepted, each counted once."""
    lost: tuple[str, ...]
    stuck: tuple[str, ...]
    """Events that are not `succeeded`."""
    duplicates: int
    """Requests that a receiver accepted although it had accepted the delivery before."""
    unexplained: tuple[str, ...]
    """Duplicates without a fault that explains them."""
    in_flight: int
    """Accepted requests that were in flight, or just answered, at a fault that can lose their outcome."""
    unlogged: int
    """Requests that are not in the log."""
    unexplained_unlogged: tuple[str, ...]
    repeated: int
    """Requests that were sent again at once within their attempt, because a kept connection broke."""
    late: int
    """Requests that a receiver answered after their attempt had timed out; they do not count as accepted."""
    unseen: tuple[str, ...]
    """Responses in the log that no receiver gave."""
    altered: tuple[str, ...]
    """Requests with other data than the event, or with a wrong signature."""
    unaccepted: tuple[str, ...]
    refused: tuple[str, ...]
    changes: int
    """Changes of a webhook that got status 200."""
    changes_lost: tuple[str, ...]
    longest: float
    """Maximum seconds from acceptance to delivery."""
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def failures(self) -> dict[str, tuple[str, ...]]:
        """Return the failures by kind."""
        wrong = {
            "lost": self.lost,
            "stuck": self.stuck,
            "duplicates without a fault": self.unexplained,
            "requests that are not in the log": self.unexplained_unlogged,
            "responses that no receiver gave": self.unseen,
            "altered": self.altered,
            "never accepted": self.unaccepted,
            "refused": self.refused,
            "changes lost": self.changes_lost,
        }
        if self.duplicates > self.in_flight:
            wrong["duplicates"] = (f"{self.duplicates}, and {self.in_flight} in flight at faults",)
        if not self.accepted:
            wrong["accepted"] = ("no event was accepted",)
        return {name: failures for name, failures in wrong.items() if failures}


def judge(observed: Observations) -> Verdict:
    """Compare what was observed."""
    wanted, comparison = _wanted(observed), _compare_with_log(observed)
    late = set(comparison.late)
    deliveries = [request for request in observed.requests if request.is_delivery and request not in late]
    delivered = by_pair(deliveries)
    repeated = [requests[: n + 1] for requests in delivered.values() for n in range(1, len(requests))]

    def in_flight(request: ReceivedRequest) -> bool:
        return was_in_flight(request, observed.windows)

    return Verdict(
        accepted=len(observed.accepted),
        delivered=sum(pair in delivered for pair in wanted),
        lost=tuple(" ".join(pair) for pair in wanted if pair not in delivered),
        stuck=_stuck(observed),
        duplicates=len(repeated),
        unexplained=tuple(_describe(requests[-1]) for requests in repeated if not any(map(in_flight, requests))),
        in_flight=sum(map(in_flight, deliveries)),
        unlogged=len(comparison.unlogged),
        unexplained_unlogged=tuple(_describe(request) for request in comparison.unlogged if not in_flight(request)),
        repeated=len(comparison.repeated),
        late=len(late),
        unseen=tuple(map(_describe, comparison.unseen)),
        altered=_altered(observed),
        unaccepted=observed.unaccepted,
        refused=observed.refused,
        changes=observed.changes,
        changes_lost=observed.changes_lost,
        longest=max((delivered[pair][0].ended - at for pair, at in wanted.items() if pair in delivered), default=0.0),
        faults=Counter(map(name_of, observed.windows)),
    )


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
