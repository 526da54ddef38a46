"""When each fault is injected. Pure: the same seed gives the same schedule."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from drills.shape import EMBEDDED, WORKERS, Shape

Kind = Literal["kill", "kill everything", "stop", "disk full", "read-only", "immediate stop", "clock"]
KINDS: tuple[Kind, ...] = get_args(Kind)
USUAL: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "clock")
"""Clocks that can be set cost so much CPU time that heartbeats are missed at 20 events a second."""

CLOCKS = (*WORKERS, *EMBEDDED.apis)
"""Processes whose clock can be set."""
EVERYTHING = "everything"

KILL_EVERY = 5.0
STOP_EVERY, STOP_SECONDS = 30.0, (12.0, 15.0)
"""A worker is stopped for longer than the heartbeat timeout of 10 s: another one takes over, then it continues."""
DISK_EVERY, DISK_SECONDS = 90.0, (8.0, 12.0)
READ_ONLY_EVERY, READ_ONLY_SECONDS = 75.0, (6.0, 10.0)
IMMEDIATE_EVERY = 60.0
EVERYTHING_EVERY = 150.0
TOUR_EVERY = 6.0
"""Seconds from one fault of a tour to the next."""
CLOCK_EVERY, CLOCK_SECONDS, CLOCK_STEP = 40.0, (6.0, 12.0), (20.0, 100.0)
"""Ahead or back, by less than the age at which receivers reject a signature."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A fault of a process, `at` seconds after the first event."""

    at: float
    kind: Kind
    target: str
    seconds: float = 0.0
    """Duration; 0 for a process that dies."""
    step: float = 0.0
    """Seconds by which a clock is set ahead; negative: back."""


def make_schedule(
    seed: int, seconds: float, kinds: Collection[Kind] = KINDS, shape: Shape = EMBEDDED
) -> tuple[Fault, ...]:
    """Return all faults that begin within `seconds`, in order.

    Each kind has its own random numbers, so leaving out a kind does not change the others.
    """
    faults: list[Fault] = []
    for kind in kinds:
        faults += _faults(kind, Random(f"{seed} {kind}"), seconds, shape)
    return tuple(sorted(faults))


def make_tour(shape: Shape) -> tuple[Fault, ...]:
    """Kill each process once, one after the other; then let the database fail in each way, and kill everything."""
    faults = [Fault(0.0, "kill", name) for name in shape.targets]
    faults += [Fault(0.0, "stop", WORKERS[0], STOP_SECONDS[0]), Fault(0.0, "immediate stop", shape.database)]
    faults += [Fault(0.0, "read-only", shape.database, READ_ONLY_SECONDS[0])]
    faults += [Fault(0.0, "disk full", shape.database, DISK_SECONDS[0]), Fault(0.0, "kill everything", EVERYTHING)]
    tour, at = [], 0.0
    for fault in faults:
        at += TOUR_EVERY
        tour.append(replace(fault, at=at))
        at += fault.seconds
    return tuple(tour)


def _faults(kind: Kind, random: Random, seconds: float, shape: Shape) -> Iterator[Fault]:
    match kind:
        case "kill":
            for at in _times(random, KILL_EVERY, seconds):
                yield Fault(at, kind, random.choice(shape.targets))
        case "kill everything":
            for at in _times(random, EVERYTHING_EVERY, seconds):
                yield Fault(at, kind, EVERYTHING)
        case "stop":
            for at in _times(random, STOP_EVERY, seconds):
                yield Fault(at, kind, random.choice(WORKERS), round(random.uniform(*STOP_SECONDS), 2))
        case "disk full":
            for at in _times(random, DISK_EVERY, seconds):
                yield Fault(at, kind, shape.database, round(random.uniform(*DISK_SECONDS), 2))
        case "read-only":
            for at in _times(random, READ_ONLY_EVERY, seconds):
                yield Fault(at, kind, shape.database, round(random.uniform(*READ_ONLY_SECONDS), 2))
        case "immediate stop":
            for at in _times(random, IMMEDIATE_EVERY, seconds):
                yield Fault(at, kind, shape.database)
        case "clock":
            for at in _times(random, CLOCK_EVERY, seconds):
                step = random.choice((1, -1)) * round(random.uniform(*CLOCK_STEP), 1)
                yield Fault(at, kind, random.choice(CLOCKS), round(random.uniform(*CLOCK_SECONDS), 2), step)


def _times(random: Random, every: float, seconds: float) -> Iterator[float]:
    """Return a random time in each interval of `every` seconds, not close to its ends."""
    for n in range(int(seconds / every)):
        yield round((n + random.uniform(0.2, 0.8)) * every, 2)
