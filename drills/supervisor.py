"""Keeps the processes of a stack running: starts them, waits until they are ready, restarts them, and stops them."""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from hookkeeper.asyncio_tasks import stop
from hookkeeper.cli.child_process import describe_end, end, execute, prepare_log, signal_group, tail
from hookkeeper.cli.console import InvalidSettings

POLL_INTERVAL = 0.05
"""Seconds between two readiness checks."""
MIN_BACKOFF, MAX_BACKOFF = 0.2, 5.0
BACKOFF_RESET_AFTER = 30.0
"""Seconds after which a running child is restarted with the first backoff again."""
MAX_EARLY_DEATHS = 3
"""Deaths of a child before it is ready; unlimited until the timeout while its port is in use."""


class ServiceFailed(Exception):
    """A service could not be started. `output` has its last lines."""

    def __init__(self, name: str, reason: str, log: Path, output: Sequence[str]) -> None:
        self.name, self.reason, self.log, self.output = name, reason, log, tuple(output)
        last = "".join(f"\n  {line}" for line in self.output) or " nothing"
        super().__init__(f"{name} {reason}. Its last output ({log}):{last}")


class ServiceMisconfigured(ServiceFailed):
    """A service has an invalid setting, so it would fail again."""


@dataclass(frozen=True)
class Service:
    """A command, and the check whether it is ready."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own environment."""
    stop_timeout: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    start_timeout: float = 60.0
    """Seconds until it has to be ready."""


def listens(address: str, port: int) -> Callable[[], Awaitable[bool]]:
    """Return the check whether a server listens there."""

    async def is_listening() -> bool:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            return False
        writer.close()
        return True

    return is_listening


class Supervisor:
    """Runs services until the block ends."""

    def __init__(self, log_dir: Path, on_event: Callable[[str, str], None] = lambda name, text: None) -> None:
        self._log_dir = log_dir
        self._on_event = on_event
        self._children: list[_ServiceProcess] = []
        self._stopping = asyncio.Lock()

    async def start(self, service: Service) -> None:
        """Start a service, return when it is ready, and restart it whenever it dies.

        Raises `ServiceFailed`, which is a `ServiceMisconfigured` if a setting is invalid; then `stop` ends what is left
        of the service. A `stop` meanwhile cancels the start.
        """
        child = _ServiceProcess(service, self._log_dir / f"{service.name}.log")
        self._children.append(child)
        await child.supervise(child.start())
        child.supervise(child.keep_running(self._on_event))

    async def run(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Run a command to its end. Raises `ServiceFailed` if its exit code is not 0."""
        child = _ServiceProcess(Service(name, argv, _never, env), self._log_dir / f"{name}.log")
        self._children.append(child)
        await child.supervise(child.run())

    async def replace(self, service: Service) -> None:
        """Stop the service of this name, and start this one in its place. Raises `ServiceFailed`."""
        for child in [child for child in self._children if child.service.name == service.name]:
            await child.stop()
            self._children.remove(child)
        await self.start(service)

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


class _ServiceProcess:
    """One service and the process that runs it now."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.log = log
        self.process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._log_start = 0

    def supervise(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run this in the background, until `stop` cancels it."""
        self._task = asyncio.create_task(work, name=f"supervise {self.service.name}")
        return self._task

    async def start(self) -> None:
        """Start the process and wait until it is ready; start it again if it dies before."""
        prepare_log(self.log)
        deaths, backoff = 0, MIN_BACKOFF
        try:
            async with asyncio.timeout(self.service.start_timeout) as deadline:
                while (code := await self._spawn_until_ready()) is not None:
                    deaths += 1
                    output = tail(self.log, self._log_start)
                    self._check_settings(code)
                    if deaths >= MAX_EARLY_DEATHS and not _reports_port_in_use(output):
                        raise self._failed(f"died {deaths} times before it was ready")
                    await asyncio.sleep(backoff)
                    backoff = min(2 * backoff, MAX_BACKOFF)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise self._failed(f"was not ready after {self.service.start_timeout:g} s") from None

    async def run(self) -> None:
        """Run the process to its end."""
        prepare_log(self.log)
        code = await (await self._spawn()).wait()
        self._kill_group()
        self._check_settings(code)
        if code:
            raise self._failed(f"ended with {describe_end(code)}")

    async def keep_running(self, on_event: Callable[[str, str], None]) -> None:
        """Restart the process whenever it dies, with a growing backoff if it dies soon.

        An event that cannot be written, as on a full disk, is dropped.
        """
        clock = asyncio.get_running_loop().time
        backoff, reason = MIN_BACKOFF, ""
        while True:
            if self.process:
                started = clock()
                reason = f"died ({describe_end(await self.process.wait())})"
                self._kill_group()
                backoff = MIN_BACKOFF if clock() - started >= BACKOFF_RESET_AFTER else backoff
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF)
            try:
                await self._spawn()
            except ServiceFailed as failure:  # such as a missing file or no memory, which may be temporary
                event = f"{reason}, {failure.reason}"
            else:
                event = f"{reason}, restarted"
            with suppress(OSError):
                on_event(self.service.name, event)

    async def stop(self) -> None:
        """End the process and all processes that it has started."""
        if self._task:
            await stop(self._task)
        if self.process:
            await end(self.process, self.service.stop_timeout)
        self.process = None

    async def _spawn_until_ready(self) -> int | None:
        """Start the process, and wait until it is ready. Return its exit code if it ended before."""
        process = await self._spawn()
        while process.returncode is None:
            if await self.service.ready():
                return None
            await asyncio.sleep(POLL_INTERVAL)
        self._kill_group()
        return process.returncode

    async def _spawn(self) -> Process:
        try:
            self._log_start = self.log.stat().st_size if self.log.exists() else 0
            self.process = await execute(self.service.argv, self.service.env, self.log)
        except OSError as error:
            raise self._failed(f"could not be started: {error}") from error
        return self.process

    def _kill_group(self) -> None:
        """Kill the rest of a dead process's group: it may hold the port that the next process needs."""
        if self.process:
            signal_group(self.process.pid, signal.SIGKILL)
        self.process = None

    def _check_settings(self, code: int) -> None:
        if code == InvalidSettings.exit_code:
            raise self._failed("has invalid settings", ServiceMisconfigured)

    def _failed(self, reason: str, kind: type[ServiceFailed] = ServiceFailed) -> ServiceFailed:
        return kind(self.service.name, reason, self.log, tail(self.log, self._log_start))


async def _never() -> bool:
    return False


def _reports_port_in_use(output: Sequence[str]) -> bool:
    return any("address already in use" in line.lower() for line in output)
