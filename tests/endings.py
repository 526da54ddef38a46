"""Wait for a task to end: if it hangs, the test fails with all stacks instead of hanging too."""

import asyncio
import traceback
from typing import Any

from cli.processes import stacks_of_threads


async def ends(task: asyncio.Task[Any], seconds: float) -> None:
    """Wait until a task is over; fail with the stacks of all tasks and threads where that takes too long."""
    await asyncio.wait([task], timeout=seconds)
    if not task.done():
        raise AssertionError(f"{task.get_name()} did not end within {seconds:g} s\n{all_stacks()}")
    await task


def all_stacks() -> str:
    """Return the stacks of all tasks of the running loop, and of all threads."""
    tasks = asyncio.all_tasks() if asyncio._get_running_loop() else ()
    return "\n".join([*map(_stack_of, tasks), stacks_of_threads()])


def _stack_of(task: asyncio.Task[Any]) -> str:
    """Return where a task waits, down to the innermost coroutine: `Task.get_stack` has the outermost alone."""
    frames = []
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "ag_frame", None)
        if frame:
            frames.append((frame, frame.f_lineno))
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
    lines = traceback.StackSummary.extract(iter(frames)).format()
    return f"Task {task.get_name()}:\n{''.join(lines)}"
