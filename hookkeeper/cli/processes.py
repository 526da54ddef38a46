"""How a process of ours runs, and how it is told to stop."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from hookkeeper.cli.shutdown import ShutdownDeadline


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, then give Temporal's threads a moment: without it a short process can abort at its exit."""

    async def and_settle() -> None:
        try:
            await work
        finally:
            await asyncio.sleep(0.05)  # sdk-python #300, see docs/temporal.md

    asyncio.run(and_settle())


@asynccontextmanager
async def until_stopped(
    on_stop: Callable[[], None] = lambda: None, deadline: ShutdownDeadline | None = None
) -> AsyncIterator[None]:
    """Cancel the block at Ctrl-C, SIGTERM or SIGHUP, and go on behind it as if it had come to its end.

    After the block these signals are ignored: what is left to do then is the way out, which the deadline bounds.
    """
    loop, deaf = asyncio.get_running_loop(), False

    def stop() -> None:
        nonlocal deaf
        if deadline:
            deadline.begin()
        if not deaf:
            deaf = True
            scope.reschedule(loop.time())
            on_stop()  # may fail: the terminal may be gone

    try:
        async with asyncio.timeout(None) as scope:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup` means it
                    loop.add_signal_handler(number, stop)
                    if deadline:  # at once, also where the loop hangs; the loop gets the signal besides
                        signal.signal(number, lambda *_: deadline.begin())
            yield
            deaf = True
    except TimeoutError:
        if not scope.expired():
            raise


async def forever() -> None:
    """Wait to be cancelled."""
    await asyncio.Event().wait()


def freeze_objects() -> None:
    """Exclude existing objects, mostly modules, from garbage collection.

    Scanning them took 0.15 s every few seconds, during which no run and no request continued.
    """
    gc.collect()
    gc.freeze()
