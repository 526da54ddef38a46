"""Run the work of a process until it ends or is stopped by a signal."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from hookkeeper.cli.shutdown import ShutdownDeadline

GC_THRESHOLDS = (20_000, 2, 2)
"""Rarer collections: with Python's defaults (700, 10, 10), they took a tenth of a busy worker's CPU. Still rarer ones
would keep the runs that leave its cache, which are cycles of objects."""


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run the work, then give Temporal's threads a moment: otherwise a short process can abort at its exit."""

    async def run_and_settle() -> None:
        try:
            await work
        finally:
            await asyncio.sleep(0.05)  # sdk-python #300, see docs/temporal.md

    asyncio.run(run_and_settle())


@asynccontextmanager
async def until_stopped(
    on_stop: Callable[[], None] = lambda: None, deadline: ShutdownDeadline | None = None
) -> AsyncIterator[None]:
    """Cancel the block at Ctrl-C, SIGTERM or SIGHUP, and continue after it as if it had ended.

    After the block, these signals are ignored: only the shutdown remains, which the deadline bounds.
    """
    loop, is_stopping = asyncio.get_running_loop(), False

    def stop() -> None:
        nonlocal is_stopping
        if deadline:
            deadline.begin()
        if not is_stopping:
            is_stopping = True
            scope.reschedule(loop.time())
            on_stop()  # may fail: the terminal may be gone

    try:
        async with asyncio.timeout(None) as scope:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` sets it
                    loop.add_signal_handler(number, stop)
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
