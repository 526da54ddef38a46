"""A test fails if Hookkeeper's code blocks the event loop for more than 250 ms of CPU time, or sleeps on it."""

from contextlib import AbstractContextManager
from pathlib import Path

from drills.event_loops.monitor import LoopMonitor, SlowStep

LIMIT_MS = 250
"""On a busy processor a step takes more CPU time too: the JSON of an event of 4.5 MB took 114 ms."""
HELD = "event loop blocked for"
"""The log line of a process for each step that blocked its loop for longer."""

ROOT = Path(__file__).parents[1]
MONITOR = ROOT / "drills/event_loops/monitor.py"
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
    """Return the steps in which Hookkeeper's own code blocked the loop.

    Tests may block it themselves, and so may a garbage collection of the whole test process.
    """
    return [step for step in _held if _is_hookkeepers(step)]


def _is_hookkeepers(step: SlowStep) -> bool:
    if step.kind == "garbage collection" or STARTS & {frame.name for frame in step.stack}:
        return False
    files = {Path(frame.filename) for frame in step.stack} - {MONITOR}  # it is called by garbage collections
    folders = {file.relative_to(ROOT).parts[0] for file in files if file.is_relative_to(ROOT)}
    return not folders <= set(NOT_OURS)
