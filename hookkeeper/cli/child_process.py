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
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
LOG_LIMIT = 10 * 1024 * 1024
TAIL_LINES, TAIL_BYTES, LINE_LENGTH = 15, 64 * 1024, 500

# Loaded before any fork, and called with the GIL held: a new child must not wait for another thread's lock.
_libc = ctypes.PyDLL(None) if sys.platform == "linux" else None


async def execute(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
    """Start a program with further environment variables, which adds its output to a file. Raises `OSError`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            preexec_fn=_dying_with(os.getpid()),
        )
    finally:
        os.close(descriptor)


async def end(process: Process, timeout: float) -> None:
    """Stop a process and all that it has started; kill them if it has not stopped after `timeout` seconds."""
    if process.returncode is None:
        signal_group(process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await process.wait()
    signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # no process left; macOS raises the latter for zombies
        os.killpg(group, number)


def describe_end(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def prepare_log(log: Path) -> None:
    """Create the folder, and start a new log if the present one is large; one old log is kept."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.1"))


def tail(log: Path, start: int = 0) -> list[str]:
    """Read the last lines of a log that were written after this position."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return [line[:LINE_LENGTH] for line in lines[-TAIL_LINES:]]


def _dying_with(parent: int) -> Callable[[], None] | None:
    """Return a function that ties a new child to the life of its parent, on Linux."""
    if _libc is None:
        return None
    prctl = _libc.prctl

    def set_signal() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it has already ended
            os._exit(1)

    return set_signal
