"""Starts child processes that end with this process, and starts some again whenever they die.

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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from hookkeeper.asyncio_tasks import stop

PR_SET_PDEATHSIG = 1
LOG_LIMIT = 10 * 1024 * 1024
TAIL_LINES, TAIL_BYTES, LINE_LENGTH = 15, 64 * 1024, 500
POLL_INTERVAL = 0.05
"""Seconds between two checks whether a process is ready."""
MIN_PAUSE, MAX_PAUSE = 0.2, 5.0
"""Seconds until a process that has died is started again; longer after each time."""
PAUSE_RESET_AFTER = 30.0
"""Seconds after which a running process is started again with the shortest pause."""

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


class ProcessFailed(Exception):
    """A process could not be started, ended too early, or was ready too late. The message has its last output."""


class KeptProcess:
    """A process that writes to a log, and is started again whenever it dies once it was ready."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        stop_timeout: float,
        on_event: Callable[[str, str], None] = lambda name, text: None,
    ) -> None:
        self._name, self._argv, self._environment, self._log = name, argv, environment, log
        self._stop_timeout, self._on_event = stop_timeout, on_event
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None while it is down."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it. Raises `ProcessFailed`."""
        prepare_log(self._log)
        self._process = await self._start()

    async def until_ended(self) -> None:
        """Wait until it ends. Raises `ProcessFailed` if its exit code is not 0."""
        assert self._process
        code = await self._process.wait()
        await end(self._process, 0)
        if code:
            raise self._failed(f"ended with {describe_end(code)}")

    async def until_ready(self, is_ready: Callable[[], Awaitable[bool]], timeout: float) -> None:
        """Wait until it is ready, and keep it running from now on. Raises `ProcessFailed`."""
        process = self._process
        assert process
        try:
            async with asyncio.timeout(timeout):
                while not await is_ready():
                    if process.returncode is not None:
                        raise self._failed(f"ended with {describe_end(process.returncode)} before it was ready")
                    await asyncio.sleep(POLL_INTERVAL)
        except TimeoutError:
            raise self._failed(f"was not ready after {timeout:g} s") from None
        self._keeping = asyncio.create_task(self._keep_running(process), name=f"keep {self._name} running")

    async def stop(self) -> None:
        """End it with all that it has started."""
        if self._keeping:
            await stop(self._keeping)
        if self._process:
            await end(self._process, self._stop_timeout)

    async def _keep_running(self, process: Process) -> None:
        clock = asyncio.get_running_loop().time
        pause, started = MIN_PAUSE, clock()
        while True:
            event = f"died ({describe_end(await process.wait())})"
            await end(process, 0)  # what it has started may hold its port
            pause = MIN_PAUSE if clock() - started >= PAUSE_RESET_AFTER else pause
            await asyncio.sleep(pause)
            pause, started = min(2 * pause, MAX_PAUSE), clock()
            try:
                self._process = process = await self._start()
                event += ", restarted"
            except ProcessFailed as error:  # such as no memory, which may be temporary
                event += f": {error}"
            with suppress(OSError):  # the terminal's disk may be full
                self._on_event(self._name, event)

    async def _start(self) -> Process:
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        try:
            return await execute(self._argv, self._environment, self._log)
        except OSError as error:
            raise self._failed(f"could not be started: {error}") from error

    def _failed(self, reason: str) -> ProcessFailed:
        last = "".join(f"\n  {line}" for line in tail(self._log, self._log_start)) or " nothing"
        return ProcessFailed(f"{self._name} {reason}. Its last output ({self._log}):{last}")


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
