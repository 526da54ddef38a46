"""Limits the time that a process takes to stop, and reports what hangs."""

import faulthandler
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from queue import SimpleQueue

SHUTDOWN_MARGIN = timedelta(seconds=10)
"""Time for the rest of a shutdown, after the grace period for work in progress."""
REPORT_TIMEOUT = 2.0
"""Seconds that the report may take: standard error may be blocked too."""
FAILED = 1
"""The exit code of a process that did not stop in time."""
Report = Callable[[str, str], None]
"""Gets a sentence and the stacks of all threads."""


class ShutdownDeadline:
    """Ends the process if its shutdown takes too long.

    It waits in a thread, so it also ends a process whose event loop hangs, or whose interpreter waits for other threads
    at its exit. If no Python code can run, a thread of `faulthandler` ends the process.
    """

    def __init__(self, grace: timedelta, report: Report) -> None:
        self._report = report
        self._seconds = (grace + SHUTDOWN_MARGIN).total_seconds()
        self._started: SimpleQueue[None] = SimpleQueue()
        threading.Thread(target=self._watch, name="shutdown deadline", daemon=True).start()

    def begin(self) -> None:
        """Start the time. Safe to call again, and from a signal handler that interrupts another call.

        With an Event, the handler would wait for a lock that its own thread holds.
        """
        self._started.put(None)

    def _watch(self) -> None:
        self._started.get()
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback_later(self._seconds + 2 * REPORT_TIMEOUT, exit=True, file=sys.__stderr__)
        time.sleep(self._seconds)
        report = threading.Thread(target=self._report_hang, daemon=True)
        report.start()
        report.join(REPORT_TIMEOUT)
        os._exit(FAILED)

    def _report_hang(self) -> None:
        self._report(f"shutdown did not end within {self._seconds:g} s: the process exits now", stacks_of_threads())
        sys.stderr.flush()


def to_log() -> Report:
    """Return a report that writes to the log. `dev` has no log of its own, so it saves the memory of structlog."""
    import structlog

    log = structlog.get_logger("hookkeeper.shutdown")
    return lambda text, stacks: log.error(text, stack=stacks)


def stacks_of_threads() -> str:
    """Return the stacks of all threads."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    )
