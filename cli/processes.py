"""Run the work of a process until it ends or is stopped by a signal, and limit the time that it takes to stop."""

import asyncio
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

GC_THRESHOLDS = (20_000, 2, 2)
"""Rarer collections: with Python's defaults (700, 10, 10), they took a tenth of a busy worker's CPU. Still rarer ones
would keep the runs that leave its cache, which are cycles of objects."""
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
    """Return a report that writes to the log. `dev` writes its own to the terminal."""
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


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run the work, then give Temporal's threads a moment: otherwise a short process can abort at its exit."""

    async def run_and_settle() -> None:
        try:
            await work
        finally:
            await asyncio.sleep(0.05)  # sdk-python #300, see docs/internals/temporal.md

    asyncio.run(run_and_settle())


@asynccontextmanager
async def until_stopped(
    on_stop: Callable[[], None] = lambda: None,
    deadline: ShutdownDeadline | None = None,
    delay: timedelta = timedelta(),
) -> AsyncIterator[None]:
    """Cancel the block at Ctrl-C, SIGTERM or SIGHUP, and continue after it as if it had ended.

    `delay`: time after SIGTERM for which the block goes on. After the block, these signals are ignored: only the
    shutdown remains, which the deadline bounds.
    """
    loop, is_stopping = asyncio.get_running_loop(), False

    def stop(number: int) -> None:
        nonlocal is_stopping
        if deadline:
            deadline.begin()
        if not is_stopping:
            is_stopping = True
            scope.reschedule(loop.time() + (delay.total_seconds() if number == signal.SIGTERM else 0.0))
            on_stop()  # may fail: the terminal may be gone

    try:
        async with asyncio.timeout(None) as scope:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` sets it
                    loop.add_signal_handler(number, stop, number)
                    if deadline:  # also if the loop hangs; the loop gets the signal as well
                        signal.signal(number, lambda *_: deadline.begin())
            yield
            is_stopping = True
    except TimeoutError:
        if not scope.expired():
            raise


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


def start_without_collections() -> None:
    """Collect no garbage until `freeze_objects`: imports make none, and scanning takes a tenth of their time."""
    gc.disable()


def freeze_objects() -> None:
    """Exclude existing objects, mostly modules, from garbage collection, and let it run rarely from now on.

    Scanning these objects took 0.15 s every few seconds, during which no run and no request continued.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
