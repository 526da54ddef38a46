"""When each fault is injected. Pure: the same seed gives the same schedule."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
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

EVERY: dict[Kind, float] = {
    "kill": 5.0,
    "kill everything": 150.0,
    "stop": 30.0,
    "disk full": 90.0,
    "read-only": 75.0,
    "immediate stop": 60.0,
    "clock": 40.0,
}
"""Seconds in which each kind has one fault."""
LASTS: dict[Kind, tuple[float, float]] = {
    "stop": (12.0, 15.0),  # longer than the heartbeat timeout of 10 s: another worker takes over, then it continues
    "disk full": (8.0, 12.0),
    "read-only": (6.0, 10.0),
    "clock": (6.0, 12.0),
}
"""Least and most seconds that a fault lasts; the others end a process at once."""
TOUR_EVERY = 6.0
"""Seconds from one fault of a tour to the next."""
CLOCK_STEP = (20.0, 100.0)
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
    faults: list[tuple[Kind, str]] = [("kill", name) for name in shape.targets]
    faults += [("stop", WORKERS[0]), ("immediate stop", shape.database), ("read-only", shape.database)]
    faults += [("disk full", shape.database), ("kill everything", EVERYTHING)]
    tour, at = [], 0.0
    for kind, target in faults:
        at += TOUR_EVERY
        tour.append(Fault(at, kind, target, LASTS.get(kind, (0.0,))[0]))
        at += tour[-1].seconds
    return tuple(tour)


def _faults(kind: Kind, random: Random, seconds: float, shape: Shape) -> Iterator[Fault]:
    """Return one fault in each interval of its kind, not close to its ends."""
    targets: dict[Kind, tuple[str, ...]] = {
        "kill": shape.targets,
        "kill everything": (EVERYTHING,),
        "stop": WORKERS,
        "clock": CLOCKS,
    }
    possible = targets.get(kind, (shape.database,))
    for n in range(int(seconds / EVERY[kind])):
        at = round((n + random.uniform(0.2, 0.8)) * EVERY[kind], 2)
        step = random.choice((1, -1)) * round(random.uniform(*CLOCK_STEP), 1) if kind == "clock" else 0.0
        target = random.choice(possible) if len(possible) > 1 else possible[0]
        lasts = round(random.uniform(*LASTS[kind]), 2) if kind in LASTS else 0.0
        yield Fault(at, kind, target, lasts, step)
