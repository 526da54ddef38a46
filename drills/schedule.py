"""When each fault is injected. Pure: the same seed gives the same schedule."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

Kind = Literal["kill", "kill everything", "stop", "disk full", "clock"]
KINDS: tuple[Kind, ...] = get_args(Kind)
USUAL: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "clock")
"""Clocks that can be set cost so much CPU time that heartbeats are missed at 20 events a second."""

WORKERS = ("worker-1", "worker-2")
REGISTRY = "registry"
TARGETS = (*WORKERS, "api", "temporal", REGISTRY)
CLOCKS = (*WORKERS, "api")
"""Processes whose clock can be set."""
EVERYTHING = "everything"

KILL_EVERY = 5.0
STOP_EVERY, STOP_SECONDS = 30.0, (12.0, 15.0)
"""A worker is stopped for longer than the heartbeat timeout of 10 s: another one takes over, then it continues."""
DISK_EVERY, DISK_SECONDS = 90.0, (8.0, 12.0)
EVERYTHING_EVERY = 150.0
CLOCK_EVERY, CLOCK_SECONDS, CLOCK_STEP = 40.0, (6.0, 12.0), (20.0, 100.0)
"""Ahead or back, by less than the age at which receivers reject a signature."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A fault of a process, `at` seconds after the first event."""

    at: float
    kind: Kind
    target: str
    seconds: float = 0.0
    """Duration; 0 for a kill."""
    step: float = 0.0
    """Seconds by which a clock is set ahead; negative: back."""


def make_schedule(seed: int, seconds: float, kinds: Collection[Kind] = KINDS) -> tuple[Fault, ...]:
    """Return all faults that begin within `seconds`, in order.

    Each kind has its own random numbers, so leaving out a kind does not change the others.
    """
    faults: list[Fault] = []
    for kind in kinds:
        faults += _faults(kind, Random(f"{seed} {kind}"), seconds)
    return tuple(sorted(faults))


def _faults(kind: Kind, random: Random, seconds: float) -> Iterator[Fault]:
    match kind:
        case "kill":
            for at in _times(random, KILL_EVERY, seconds):
                yield Fault(at, kind, random.choice(TARGETS))
        case "kill everything":
            for at in _times(random, EVERYTHING_EVERY, seconds):
                yield Fault(at, kind, EVERYTHING)
        case "stop":
            for at in _times(random, STOP_EVERY, seconds):
                yield Fault(at, kind, random.choice(WORKERS), round(random.uniform(*STOP_SECONDS), 2))
        case "disk full":
            for at in _times(random, DISK_EVERY, seconds):
                yield Fault(at, kind, REGISTRY, round(random.uniform(*DISK_SECONDS), 2))
        case "clock":
            for at in _times(random, CLOCK_EVERY, seconds):
                step = random.choice((1, -1)) * round(random.uniform(*CLOCK_STEP), 1)
                yield Fault(at, kind, random.choice(CLOCKS), round(random.uniform(*CLOCK_SECONDS), 2), step)


def _times(random: Random, every: float, seconds: float) -> Iterator[float]:
    """Return a random time in each interval of `every` seconds, not close to its ends."""
    for n in range(int(seconds / every)):
        yield round((n + random.uniform(0.2, 0.8)) * every, 2)
