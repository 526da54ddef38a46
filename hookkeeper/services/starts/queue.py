"""Events that wait for a start which they can share, and the choice of those that start together."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from hookkeeper.content.search_terms import Key as SearchKey
from hookkeeper.kinds import KINDS
from hookkeeper.messages.event import Delivery, EventInput
from hookkeeper.messages.partition import PART
from hookkeeper.messages.run_report import RunReport, first_report
from hookkeeper.registry.events.writing import Name
from hookkeeper.search_attributes import ID_FRAME_BYTES, LIST_FRAME_BYTES, LISTED_BYTES
from hookkeeper.temporal.events.run_state import unstarted_state

MAX_SHARED_BYTES = 512 * 1024
"""Bytes of all events of a shared run together."""
MAX_EVENT_BYTES = 8 * 1024
"""Bytes of an event that can share a run."""
Expected = Literal["quick", "unknown", "slow"]
"""Attempts that succeed within a second; those of a webhook that has not succeeded yet; those of one that fails, or was
slow in the last two minutes."""
DELIVERY_BYTES = 1024
"""Bytes of a delivery with the outcome of its attempt, without URLs: the outcomes of a shared run are one result."""


class Lane(NamedTuple):
    """Events that wait in order. They share a run with those of other tenants that expect the same, but slow ones only
    with each other: the run is as slow as its slowest attempt.
    """

    tenant: str
    expected: Expected


@dataclass(frozen=True, slots=True, eq=False)
class NewRun:
    """An event that is to be started."""

    event: EventInput
    input: str
    """The event as JSON, as its row keeps it."""
    size: int
    """Bytes of the event as it was posted."""
    expected: Expected = "quick"
    """What its first attempts can be expected to be."""
    search_keys: tuple[SearchKey, ...] = ()
    """What its data can be searched by."""
    has_place: Callable[[], None] = lambda: None
    """Called when its deliveries have their places in the order."""

    @property
    def name(self) -> Name:
        return self.event.tenant, self.event.id

    @property
    def lane(self) -> Lane:
        return Lane(self.event.tenant, self.expected)

    @property
    def shared_bytes(self) -> int:
        """What it adds to a shared run, and its outcomes to the result of that."""
        return self.size + sum(DELIVERY_BYTES + len(delivery.target) for delivery in self.event.deliveries)

    def report(self, shared_run: str | None) -> RunReport:
        """Return what its rows are made of, if it is to be in this run."""
        state = unstarted_state(self.event)
        return first_report(self.event, state, shared_run, text=self.input, keys=self.search_keys)

    def is_plain(self) -> bool:
        """Return whether the event may share a run: it is small, and nothing delays its first attempts."""
        event = self.event
        if event.deliver_at or self.size > MAX_EVENT_BYTES or len(event.deliveries) > PART:
            return False
        return all(map(_is_plain, event.deliveries))

    @property
    def activities(self) -> int:
        """About how many activities its run has: one for all plain deliveries, and one for each other. Unless they are
        quick, each delivery counts, since each may be retried.
        """
        deliveries = self.event.deliveries
        if self.expected != "quick":
            return len(deliveries)
        plain = sum(map(_is_plain, deliveries))
        return min(plain, 1) + len(deliveries) - plain


def _is_plain(delivery: Delivery) -> bool:
    return KINDS[delivery.channel].is_quick and not (delivery.rate or delivery.ordered or delivery.degraded)


class StartQueue:
    """Serves lanes in turn, one event each, so that a tenant with many events delays only itself."""

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self._waiting: dict[Lane, dict[NewRun, None]] = {}
        """Each lane's oldest first; the lane to be served next comes first."""
        self._size = 0
        self._busy: set[Lane] = set()

    def __len__(self) -> int:
        return self._size

    @property
    def is_full(self) -> bool:
        """Whether as many events wait as can share a run."""
        return self._size >= self._max_events

    def put(self, run: NewRun) -> None:
        self._waiting.setdefault(run.lane, {})[run] = None
        self._size += 1

    def remove(self, run: NewRun) -> None:
        """Remove an event, unless it was taken."""
        of_lane = self._waiting.get(run.lane, {})
        if run in of_lane:
            del of_lane[run]
            self._size -= 1
            if not of_lane:
                del self._waiting[run.lane]

    def take(self) -> list[NewRun]:
        """Take the events of the next start: as many as may share a run. None, if all that wait are of busy lanes.

        A lane that is not quick is busy until `end` is called with the group: it has one start at a time.
        """
        group: list[NewRun] = []
        size, listed = 0, LIST_FRAME_BYTES
        lanes = self._next_lanes()
        while lanes and len(group) < self._max_events:
            lane = lanes.popleft()
            of_lane = self._waiting[lane]
            run = next(iter(of_lane))
            size += run.shared_bytes
            listed += len(run.event.id) + ID_FRAME_BYTES
            if group and (size > MAX_SHARED_BYTES or listed > LISTED_BYTES):
                break
            group.append(run)
            del of_lane[run]
            del self._waiting[lane]
            if of_lane:
                self._waiting[lane] = of_lane  # behind all others
                lanes.append(lane)
        self._size -= len(group)
        self._busy |= {run.lane for run in group if run.expected != "quick"}
        return group

    def end(self, group: Iterable[NewRun]) -> None:
        """Note that the start of a group has ended."""
        self._busy -= {run.lane for run in group}

    def _next_lanes(self) -> deque[Lane]:
        """Return the lanes whose events may share the next run."""
        free = [lane for lane in self._waiting if lane not in self._busy]
        if not free or free[0].expected == "slow":
            return deque(free[:1])
        return deque(lane for lane in free if lane.expected == free[0].expected)
