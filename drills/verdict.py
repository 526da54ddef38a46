"""Were the books kept? Pure: what was written down in, counts out."""

from collections import Counter
from dataclasses import dataclass, field

from drills.explaining import Compared, Pair, by_pair, compare, was_in_flight
from drills.observations import Logged, Observations, Request, Window

FINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a drill came to. Each tuple names what went wrong."""

    accepted: int
    delivered: int
    """Deliveries that a receiver took, each counted once."""
    lost: tuple[str, ...]
    stuck: tuple[str, ...]
    """Events that are not over, or did not end well."""
    duplicates: int
    """Requests that a receiver took although it had taken the delivery before."""
    unexplained: tuple[str, ...]
    """Duplicates that no fault excuses."""
    in_flight: int
    """Of the requests that a receiver took, those under way, or just answered, at a fault that makes them forgotten."""
    unlogged: int
    """Requests that the log does not show."""
    unexplained_unlogged: tuple[str, ...]
    repeated: int
    """Requests that broke off on a kept connection, and were sent again at once within their attempt."""
    late: int
    """Requests that a receiver answered after their attempt had timed out: they count as not taken."""
    unseen: tuple[str, ...]
    """Answers in the log that no receiver gave."""
    altered: tuple[str, ...]
    """Requests with other data than was accepted, or with a wrong signature."""
    unaccepted: tuple[str, ...]
    refused: tuple[str, ...]
    changes: int
    """Changes of a webhook that were answered 200."""
    changes_lost: tuple[str, ...]
    longest: float
    """Seconds from acceptance to delivery, at worst."""
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def failures(self) -> dict[str, tuple[str, ...]]:
        """Give what should be empty and is not."""
        wrong = {
            "lost": self.lost,
            "stuck": self.stuck,
            "duplicates without a fault": self.unexplained,
            "requests that no log shows": self.unexplained_unlogged,
            "answers that nobody gave": self.unseen,
            "altered": self.altered,
            "never accepted": self.unaccepted,
            "refused": self.refused,
            "changes lost": self.changes_lost,
        }
        if self.duplicates > self.in_flight:
            wrong["duplicates"] = (f"{self.duplicates}, and {self.in_flight} in flight at faults",)
        if not self.accepted:
            wrong["accepted"] = ("none: nothing was tried",)
        return {name: each for name, each in wrong.items() if each}


def judge(books: Observations) -> Verdict:
    """Hold the books against each other."""
    wanted, compared = _wanted(books), _held_against_the_log(books)
    late = set(compared.late)
    deliveries = [each for each in books.requests if each.is_delivery and each not in late]
    taken = by_pair(deliveries)
    again = [seen[: n + 1] for seen in taken.values() for n in range(1, len(seen))]
    return Verdict(
        accepted=len(books.accepted),
        delivered=sum(bool(taken.get(pair)) for pair in wanted),
        lost=tuple(" ".join(pair) for pair in wanted if not taken.get(pair)),
        stuck=_stuck(books),
        duplicates=len(again),
        unexplained=tuple(
            _words(seen[-1]) for seen in again if not any(was_in_flight(each, books.windows) for each in seen)
        ),
        in_flight=sum(was_in_flight(each, books.windows) for each in deliveries),
        unlogged=len(compared.unlogged),
        unexplained_unlogged=tuple(
            _words(each) for each in compared.unlogged if not was_in_flight(each, books.windows)
        ),
        repeated=len(compared.repeated),
        late=len(late),
        unseen=tuple(_words(each) for each in compared.unseen),
        altered=_altered(books),
        unaccepted=books.unaccepted,
        refused=books.refused,
        changes=books.changes,
        changes_lost=books.changes_lost,
        longest=max((taken[pair][0].ended - at for pair, at in wanted.items() if taken.get(pair)), default=0.0),
        faults=Counter(name_of(each) for each in books.windows),
    )


def name_of(window: Window) -> str:
    """Say what was done, and to what: `kill api`."""
    return window.kind if window.kind in ("kill everything", "disk full") else f"{window.kind} {window.target}"


def _wanted(books: Observations) -> dict[Pair, float]:
    """Give each delivery that has to be made, and when it was promised."""
    return {(each.event_id, webhook): each.at for each in books.accepted for webhook in books.webhooks}


def _stuck(books: Observations) -> tuple[str, ...]:
    found = ((each.event_id, books.statuses.get(each.event_id, "unreadable")) for each in books.accepted)
    return tuple(f"{event_id} {status}" for event_id, status in found if status != "succeeded")


def _held_against_the_log(books: Observations) -> Compared:
    requests, logged = by_pair(books.requests), by_pair(books.logged)
    whole = Compared([], [], [], [])
    for pair in requests.keys() | logged.keys():
        if books.statuses.get(pair[0]) in FINAL:  # others were not accepted, or are stuck: that is told elsewhere
            found = compare(requests.get(pair, []), logged.get(pair, []), books.windows)
            whole.unlogged.extend(found.unlogged)
            whole.repeated.extend(found.repeated)
            whole.unseen.extend(found.unseen)
            whole.late.extend(found.late)
    return whole


def _altered(books: Observations) -> tuple[str, ...]:
    sent = {each.event_id: each.digest for each in books.accepted}
    return tuple(_words(each) for each in books.requests if sent.get(each.event_id, each.digest) != each.digest)


def _words(each: Request | Logged) -> str:
    at = each.arrived if isinstance(each, Request) else each.started
    return f"{each.event_id} {each.webhook} {each.status or 'no answer'} at {at:.3f}"
