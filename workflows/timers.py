"""Durable timers: only timers decide when a workflow continues, never its clock.

`workflow.now()` can be the time of an earlier step, if a query makes a new worker replay a run before the workflow task
reaches it (docs/internals/temporal.md). A decision that compares times would then differ in later replays, which fail.
Therefore:

- Whether a timer is started does not depend on the clock, only its length does. A time that has passed gets the
  shortest timer.
- Something is due when its timer has fired.

`tests/workflows/test_clock_use.py` checks all workflow code for this.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from temporalio import workflow

SHORTEST = timedelta(milliseconds=1)


def remaining(until: datetime) -> timedelta:
    """Return the length of a timer that ends then. Do not compare it with anything."""
    return max(SHORTEST, until - workflow.now())


async def sleep(duration: timedelta, summary: str) -> None:
    """Wait for this time. Always starts a timer."""
    await workflow.sleep(max(SHORTEST, duration), summary=summary)


async def passes(duration: timedelta, summary: str, unless: Callable[[], bool]) -> bool:
    """Wait for this time; return False if the condition becomes true before. Always starts a timer.

    A `timeout` of `workflow.wait_condition` would cancel its timer one step earlier since Python 3.12, before commands
    that Python 3.11 makes first: open runs could not go on with another version (docs/internals/temporal.md).
    """
    timer = asyncio.create_task(sleep(duration, summary))
    try:
        await workflow.wait_condition(lambda: unless() or timer.done())
        has_passed = timer.done()
    finally:
        timer.cancel()
    await workflow.wait([timer])  # the timer is cancelled before whatever the caller does next
    return has_passed


async def first_of(
    times: Mapping[str, datetime], summary: Callable[[str, timedelta], str], unless: Callable[[], bool]
) -> set[str]:
    """Wait for the first of several times; return the names of those whose timers have fired.

    Each has its own timer, so that no comparison of times decides which comes first. `summary` gets a timer's name and
    length. Empty if the condition becomes true before.
    """

    def start(name: str, time: datetime) -> asyncio.Task[None]:
        length = remaining(time)
        return asyncio.create_task(sleep(length, summary(name, length)))

    timers = {name: start(name, time) for name, time in times.items()}
    try:
        await workflow.wait_condition(lambda: unless() or any(timer.done() for timer in timers.values()))
        return {name for name, timer in timers.items() if timer.done()}
    finally:
        for timer in timers.values():
            timer.cancel()


async def uninterrupted(condition: Callable[[], bool]) -> bool:
    """Wait for a condition, also if the run is cancelled meanwhile; return whether it was."""
    is_cancelled = False
    while not condition():
        try:
            await workflow.wait_condition(condition)
        except asyncio.CancelledError:
            is_cancelled = True
    return is_cancelled
