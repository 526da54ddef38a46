"""Starts child processes that end with this process.

Each child leads its own session. So Ctrl-C in the terminal reaches only this process, and a signal to a child's process
group also reaches the processes that the child has started.

A process that is killed with -9 cannot stop its children. On Linux the kernel then kills them (`PR_SET_PDEATHSIG`:
bound to the thread that started them, so start them in the main thread). macOS has no equivalent: the children remain,
and must be stopped manually before the next start.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# Loaded before any fork, and called with the GIL held: a new child must not wait for another thread's lock.
_libc = ctypes.PyDLL(None) if sys.platform == "linux" else None


class ChildProcess(Protocol):
    """A started process."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal that ended it; None while it runs."""

    async def wait(self) -> int:
        """Return the code as soon as the process has ended."""


Start = Callable[[Sequence[str], Mapping[str, str], int], Awaitable[ChildProcess]]
"""Starts a child with these arguments, further environment variables, and a descriptor for its output.

Raises `OSError`.
"""


async def execute(argv: Sequence[str], environment: Mapping[str, str], output: int) -> ChildProcess:
    """Start a program."""
    return await asyncio.create_subprocess_exec(
        *argv,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=dying_with(os.getpid()),
    )


def dying_with(parent: int) -> Callable[[], None] | None:
    """Return a function that ties a new child to the life of its parent, on Linux."""
    if _libc is None:
        return None
    prctl = _libc.prctl

    def set_signal() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it has already ended
            os._exit(1)

    return set_signal


def adopt_orphans(adopt: bool) -> None:
    """Choose whether this process becomes the parent of its descendants whose own parent ends, on Linux."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)
