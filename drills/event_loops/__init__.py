"""Watches the event loops of processes that tests and drills start. Hookkeeper itself has nothing of it."""

from pathlib import Path

LIMIT = "LOOP_LIMIT_MS"
"""The variable with the milliseconds for which a step may hold the loop."""


def watched(limit_ms: int, *path: Path) -> dict[str, str]:
    """Return the environment with which a process of Python logs an error for each step that holds its loop for longer.

    `path`: folders of modules that the process shall find, in `PYTHONPATH`.
    """
    here = Path(__file__).parent
    folders = dict.fromkeys([here, *path, here.parents[1]])
    return {LIMIT: str(limit_ms), "PYTHONPATH": ":".join(map(str, folders))}
