"""Keeps the processes of `hookkeeper dev` running: starts them, waits until they answer, restarts them.

Each child leads its own session. Ctrl-C in the terminal therefore reaches the supervisor alone, which then stops
the children in order; and a signal to a child's process group reaches what the child has started, too.

A supervisor that is killed with -9 cannot stop anything. On Linux the kernel then kills the children for it
(`PR_SET_PDEATHSIG`: bound to the thread that started them, so run the supervisor in the main thread). macOS has
no equivalent: there the children remain, and must be stopped manually before the next start.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

POLL = 0.05
"""Seconds between two looks at whether a child is ready."""
FIRST_BACKOFF, LONGEST_BACKOFF = 0.2, 5.0
STEADY = 30.0
"""Seconds that a child has to run until its death is a first one again, with the first backoff."""
EARLY_DEATHS = 3
"""Deaths of a child before it is ready; unlimited until the timeout while its port is still in use."""
LOG_LIMIT = 10 * 1024 * 1024
TAIL_LINES, TAIL_BYTES, LINE_LENGTH = 15, 64 * 1024, 500
PR_SET_PDEATHSIG = 1

# Loaded before any fork, and called with the GIL held: a new child must not wait for a lock of another thread.
_libc = ctypes.PyDLL(None) if sys.platform == "linux" else None


class ServiceFailed(Exception):
    """A service could not be started. `output` is what it wrote last."""

    def __init__(self, name: str, reason: str, log: Path, output: Sequence[str] = ()) -> None:
        self.name, self.reason, self.log, self.output = name, reason, log, tuple(output)
        last = "".join(f"\n  {line}" for line in self.output) or " nothing"
        super().__init__(f"{name} {reason}. Its last output ({log}):{last}")


@dataclass(frozen=True)
class Service:
    """What to run, and how to know that it is ready."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own environment."""
    stop_timeout: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    start_timeout: float = 60.0
    """Seconds until it has to be ready."""


class Supervisor:
    """Runs services. An async context manager; leaving it stops them all."""

    def __init__(self, log_dir: Path, on_event: Callable[[str, str], None] = lambda name, text: None) -> None:
        self._log_dir = log_dir
        self._on_event = on_event
        self._children: list[_Child] = []
        self._stopping = asyncio.Lock()

    async def start(self, service: Service) -> None:
        """Start a service and return when it is ready; from then on it is kept running.

        Raises `ServiceFailed`; what is left of the service then is ended by `stop`. A `stop` meanwhile cancels this.
        """
        child = _Child(service, self._log_dir / f"{service.name}.log")
        self._children.append(child)
        await child.do(child.start())
        child.do(child.keep_running(self._on_event))

    def pid(self, name: str) -> int | None:
        """Return the process id of a service; None while it is down."""
        processes = (child.process for child in self._children if child.service.name == name)
        return next((process.pid for process in processes if process), None)

    async def stop(self) -> None:
        """Stop everything, last started first. Safe to call twice, at once or one after the other."""
        async with self._stopping:
            while self._children:
                await self._children[-1].stop()
                self._children.pop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class _Child:
    """One service and the process that runs it now."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.log = log
        self.process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._log_start = 0

    def do(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Make this the one thing that happens to the process, until `stop`."""
        self._task = asyncio.create_task(work, name=f"supervise {self.service.name}")
        return self._task

    async def start(self) -> None:
        """Start the process until it is ready, again if it dies early."""
        _prepare_log(self.log)
        deaths, backoff = 0, FIRST_BACKOFF
        try:
            async with asyncio.timeout(self.service.start_timeout) as deadline:
                while not await self._spawn_until_ready():
                    deaths += 1
                    output = self._tail()
                    if deaths >= EARLY_DEATHS and not _says_port_taken(output):
                        raise self._failed(f"died {deaths} times before it was ready")
                    await asyncio.sleep(backoff)
                    backoff = min(2 * backoff, LONGEST_BACKOFF)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise self._failed(f"was not ready after {self.service.start_timeout:g} s") from None

    async def keep_running(self, on_event: Callable[[str, str], None]) -> None:
        """Start the process again whenever it dies, sooner or later according to how long it ran."""
        clock = asyncio.get_running_loop().time
        backoff, reason = FIRST_BACKOFF, ""
        while True:
            if self.process:
                started = clock()
                reason = f"died ({_how(await self.process.wait())})"
                self._forget()
                backoff = FIRST_BACKOFF if clock() - started >= STEADY else backoff
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF)
            try:
                await self._spawn()
            except ServiceFailed as failure:  # its file has gone, or there is no memory: that may pass
                on_event(self.service.name, f"{reason}, {failure.reason}")
            else:
                on_event(self.service.name, f"{reason}, restarted")

    async def stop(self) -> None:
        """End the process with all that it has started."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.process and self.process.returncode is None:
            _signal_group(self.process.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.service.stop_timeout):
                    await self.process.wait()
            _signal_group(self.process.pid, signal.SIGKILL)
            await self.process.wait()
        self._forget()

    async def _spawn_until_ready(self) -> bool:
        """Start the process; True when it is ready, False when it died before."""
        process = await self._spawn()
        while process.returncode is None:
            if await self.service.ready():
                return True
            await asyncio.sleep(POLL)
        self._forget()
        return False

    async def _spawn(self) -> asyncio.subprocess.Process:
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self._log_start = os.fstat(descriptor).st_size
            self.process = await asyncio.create_subprocess_exec(
                *self.service.argv,
                env={**os.environ, **self.service.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        except OSError as error:
            raise self._failed(f"could not be started: {error}") from error
        finally:
            os.close(descriptor)
        return self.process

    def _forget(self) -> None:
        """End what a dead process has left in its group: it may hold the port that the next one needs."""
        if self.process:
            _signal_group(self.process.pid, signal.SIGKILL)
        self.process = None

    def _failed(self, reason: str) -> ServiceFailed:
        return ServiceFailed(self.service.name, reason, self.log, self._tail())

    def _tail(self) -> list[str]:
        """Read the last lines that the present process, or the one before it, has written."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as log:
            log.seek(max(self._log_start, self.log.stat().st_size - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return [line[:LINE_LENGTH] for line in lines[-TAIL_LINES:]]


def _prepare_log(log: Path) -> None:
    """Make the folder, and begin a new log where the present one has grown large; one old log is kept."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.1"))


def _die_with_parent() -> Callable[[], None] | None:
    """Return what a new child does first on Linux: ask to be killed when this process ends, however that is."""
    if _libc is None:
        return None
    prctl, parent = _libc.prctl, os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before we could ask
            os._exit(1)

    return ask


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # no process left; macOS raises the latter for zombies
        return


def _says_port_taken(output: Sequence[str]) -> bool:
    return any("address already in use" in line.lower() for line in output)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
