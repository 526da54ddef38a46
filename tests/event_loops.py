"""Each test fails in which Hookkeeper's code holds the event loop for more than 100 ms of CPU time, or sleeps on it."""

from contextlib import AbstractContextManager
from pathlib import Path

from hookkeeper.loop_monitor import LoopMonitor, SlowStep

LIMIT_MS = 100
HELD = "event loop blocked for"
"""What a process writes in its log for each step that held its loop for longer."""

ROOT = Path(__file__).parents[1]
NOT_OURS = ("tests", "benchmarks", "drills", "examples", ".venv")

STARTS = {"create_app", "open_engine", "_find_and_load"}
"""Functions that run once, before a process serves (the last imports): tests call them in the middle of their loop."""

_held: list[SlowStep] = []
monitor = LoopMonitor(LIMIT_MS / 1000, _held.append)


def starting() -> AbstractContextManager[None]:
    """Judge no step of a start: as in a real process, the loop has to be free from when it serves."""
    return monitor.paused()


def forget() -> None:
    _held.clear()


def held_by_hookkeeper() -> list[SlowStep]:
    """Give the steps in which Hookkeeper's own code held the loop.

    Tests may hold it themselves, and so may a collection of the garbage of the whole test process.
    """
    return [each for each in _held if _is_hookkeepers(each)]


def _is_hookkeepers(held: SlowStep) -> bool:
    if held.kind == "garbage collection" or STARTS & {frame.name for frame in held.stack}:
        return False
    return held.passes_through(ROOT, NOT_OURS)
