"""Commands of Hookkeeper in their own processes, on free ports: in forks of a process that has imported its modules.

With `fresh`, they are started as users do: `python -m hookkeeper …`. That takes a second or two of CPU time more.
"""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forks
import httpx
import pytest

from cli import ports as stack_ports
from cli.datadir import DataDir
from drills.event_loops import watched
from drills.stack import probe, temporal_service
from drills.supervisor import Supervisor
from event_loops import HELD, LIMIT_MS
from timeouts import WAIT_TIMEOUT

ROOT = Path(__file__).parents[2]
FINAL = ("succeeded", "failed", "cancelled", "no_webhook")
START, STOP = 90.0, WAIT_TIMEOUT
"""Maximum seconds for a start and a stop, on a busy machine."""

Settings = Mapping[str, str]
NOTHING: Settings = {}
NO_VARIABLES: Mapping[str, Settings] = {}
UNASKED_PORTS = range(20_000, 32_000)
"""Ports that the system gives to no socket that asks for any: none is taken between the look and the use."""


def environment(ours: Settings) -> dict[str, str]:
    """Return the environment of a process, without the settings of Hookkeeper and Temporal outside of the test."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HOOKKEEPER_", "TEMPORAL_"))}
    if inherited.pop("PYTHONDONTWRITEBYTECODE", None):
        # Without it, each of dozens of processes would compile a thousand modules: three quarters of the time.
        inherited["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / f"hookkeeper-bytecode-{os.getuid()}")
    # Schedules of a second: with the shortest interval of ten, their tests would take ten times as long.
    # No load balancer has to know that an API stops.
    usual = {**watched(LIMIT_MS), "HOOKKEEPER_MIN_SCHEDULE_INTERVAL": "1", "HOOKKEEPER_SHUTDOWN_DELAY": "0"}
    return inherited | {"COLUMNS": "100", **usual, **ours}


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


async def hookkeeper(
    *args: str, cwd: Path, settings: Settings = NOTHING, stdin: str = "", seconds: float = START, fresh: bool = False
) -> Done:
    """Run a command to its end."""
    if not fresh:
        return Done(*await asyncio.to_thread(forks.run, args, cwd, environment(settings), stdin, seconds))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hookkeeper", *args),
        cwd=cwd,
        env=environment(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(seconds):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@dataclass
class Process:
    """A command that runs until it is stopped."""

    process: asyncio.subprocess.Process | forks.Fork
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    async def says(self, text: str, seconds: float = START, times: int = 1) -> str:
        """Wait until it has written the text to either output; return both."""
        async with asyncio.timeout(seconds):
            while (written := self.written()).count(text) < times:
                assert self.process.returncode is None, written
                await asyncio.sleep(0.02)
        return written

    def written(self) -> str:
        return self.out.read_text() + self.err.read_text()

    async def stop(self, number: signal.Signals = signal.SIGINT, seconds: float = STOP) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(seconds):
            return await self.process.wait()


@asynccontextmanager
async def process(*args: str, cwd: Path, settings: Settings = NOTHING, fresh: bool = False) -> AsyncIterator[Process]:
    """Run a command until the block ends, at most."""
    name = f"{args[0]}-{os.urandom(4).hex()}"
    out, err = cwd / f"{name}.out", cwd / f"{name}.err"
    start = _exec if fresh else forks.started
    started = await start(args, cwd, environment(settings), out, err)
    try:
        yield Process(started, out, err)
    finally:
        if started.returncode is None:
            started.terminate()
            try:
                async with asyncio.timeout(STOP):
                    await started.wait()
            except TimeoutError:
                started.kill()
                await started.wait()


async def _exec(
    args: Sequence[str], cwd: Path, variables: Settings, out: Path, err: Path
) -> asyncio.subprocess.Process:
    with out.open("wb") as out_file, err.open("wb") as err_file:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hookkeeper", *args),
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=out_file,
            stderr=err_file,
        )


@dataclass(frozen=True)
class DevPorts:
    api: int
    temporal: int
    ui: int
    metrics: int = 0
    """0: it serves none."""

    @property
    def arguments(self) -> tuple[str, ...]:
        return (
            *("--port", str(self.api)),
            *("--temporal-port", str(self.temporal)),
            *("--ui-port", str(self.ui)),
            *("--metrics-port", str(self.metrics)),
        )

    def are_free(self) -> bool:
        return all(map(_is_free, filter(None, (self.api, self.temporal, self.ui, self.metrics))))


@dataclass
class Client:
    """A client of an API."""

    http: httpx.AsyncClient

    async def webhook(self, url: str, tenant: str, **fields: Any) -> dict[str, Any]:
        answer = await self.http.post("/v1/webhooks", json={"url": url, "tenant": tenant, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def send(self, tenant: str, **fields: Any) -> dict[str, Any]:
        answer = await self.http.post("/v1/events", json={"type": "order.paid", "tenant": tenant, **fields})
        assert answer.status_code == 202, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def event(self, event_id: str, tenant: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/events/{event_id}", params={"tenant": tenant})
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def until(self, event_id: str, tenant: str, *statuses: str, seconds: float = WAIT_TIMEOUT) -> dict[str, Any]:
        """Wait until the event has one of these statuses; a 503 is tried again."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    answer = await self.http.get(f"/v1/events/{event_id}", params={"tenant": tenant})
                except httpx.TransportError:
                    answer = httpx.Response(503)
                if answer.status_code == 200 and answer.json()["status"] in (statuses or FINAL):
                    return answer.json()  # type: ignore[no-any-return]
                assert answer.status_code in (200, 503), answer.text
                await asyncio.sleep(0.05)

    async def until_delivery(self, event_id: str, tenant: str, status: str, attempts: int = 0) -> dict[str, Any]:
        """Wait until the first delivery has the status and at least this many attempts."""
        async with asyncio.timeout(WAIT_TIMEOUT):
            while True:
                event = await self.event(event_id, tenant)
                delivery = event["deliveries"][0]
                if delivery["status"] == status and len(delivery["attempts"]) >= attempts:
                    return event
                await asyncio.sleep(0.03)


@dataclass
class Dev(Client):
    """A `hookkeeper dev`, and a client of its API."""

    folder: Path
    ports: DevPorts
    own_process: Process | None = field(repr=False)
    """None for an installation in place of a `dev`: tests that need the process or its Temporal server are skipped."""

    @property
    def process(self) -> Process:
        if self.own_process is None:
            pytest.skip("needs the processes of a dev")
        return self.own_process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def temporal(self) -> str:
        assert self.process
        return f"127.0.0.1:{self.ports.temporal}"

    @property
    def key(self) -> str:
        known = DataDir(self.folder / ".hookkeeper").dev_api()
        assert known
        return known.key

    async def run(self, *args: str, stdin: str = "") -> Done:
        """Run a client command where this dev keeps its data."""
        return Done(*await asyncio.to_thread(forks.run, args, self.folder, environment(NOTHING), stdin, START))

    async def is_ready(self) -> bool:
        try:
            return (await self.http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def until_ready(self) -> None:
        async with asyncio.timeout(START):
            while not await self.is_ready():
                assert self.process.process.returncode is None, self.process.written()
                await asyncio.sleep(0.05)


@asynccontextmanager
async def dev(
    folder: Path,
    ports: DevPorts | None = None,
    settings: Settings = NOTHING,
    options: tuple[str, ...] = (),
    *,
    fresh: bool = False,
) -> AsyncIterator[Dev]:
    """Run a dev in the folder until the block ends, at most; it is ready when the block begins."""
    ports = ports or free_ports()
    async with process("dev", *options, *ports.arguments, cwd=folder, settings=settings, fresh=fresh) as started:
        url = f"http://127.0.0.1:{ports.api}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as http:
            begun = Dev(http, folder, ports, started)
            await begun.until_ready()
            await started.says("Ctrl-C")
            http.headers["authorization"] = f"Bearer {begun.key}"
            yield begun
    for log in DataDir(folder / ".hookkeeper").logs.glob("*.log"):
        assert HELD not in (text := log.read_text()), text


@asynccontextmanager
async def given(folder: Path) -> AsyncIterator[Dev]:
    """Use the installation whose API this folder names as a `dev` does."""
    known = DataDir(folder / ".hookkeeper").dev_api()
    assert known
    headers = {"authorization": f"Bearer {known.key}"}
    async with httpx.AsyncClient(base_url=known.url, trust_env=False, timeout=30, headers=headers) as http:
        yield Dev(http, folder, DevPorts(known.ports.api, known.ports.temporal, known.ports.ui), None)


@dataclass
class Installation(Client):
    """A client of an installation, whose processes are apart."""

    api: Process
    worker: Process
    another_worker: Callable[[], AbstractAsyncContextManager[Process]]
    """Runs one more worker, until the block ends."""


@asynccontextmanager
async def processes_apart(
    folder: Path, variables: Mapping[str, Settings] = NO_VARIABLES
) -> AsyncIterator[Installation]:
    """Run Temporal, a worker and an API, each in a process, with further variables of `worker` and `api`."""
    ports, key = stack_ports.free_ports(), "a-key-for-tests-only"
    settings = {
        "HOOKKEEPER_ADMIN_KEY": key,
        "HOOKKEEPER_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
        "HOOKKEEPER_DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'registry.db'}",
        "HOOKKEEPER_PORT": str(ports.api),
        "TEMPORAL_ADDRESS": f"127.0.0.1:{ports.temporal}",
    }

    def run(name: str, *options: str) -> AbstractAsyncContextManager[Process]:
        return process(name, *options, cwd=folder, settings={**settings, **variables.get(name, {})})

    migrated = await hookkeeper("migrate", "--registry-only", cwd=folder, settings=settings)
    assert migrated.code == 0, migrated
    async with AsyncExitStack() as stack:
        supervisor = await stack.enter_async_context(Supervisor(folder))
        await supervisor.start(temporal_service(folder, ports))
        url = f"http://127.0.0.1:{ports.api}"
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False, timeout=10))
        worker = await stack.enter_async_context(run("worker", "--local"))
        api = await stack.enter_async_context(run("api"))
        async with asyncio.timeout(START):
            while (await probe(f"{url}/readyz")).get("workers") != "running":
                assert api.process.returncode is worker.process.returncode is None, api.written() + worker.written()
                await asyncio.sleep(0.05)
        http.headers["authorization"] = f"Bearer {key}"
        yield Installation(http, api, worker, lambda: run("worker", "--local"))
        for each in (api, worker):
            assert HELD not in (text := each.written()), text


def free_ports(*, metrics: bool = False) -> DevPorts:
    """Return free ports; with `metrics`, also one for these."""
    while not all(map(_can_be_bound, ports := random.sample(UNASKED_PORTS, 4))):
        pass
    api, temporal, ui, other = ports
    return DevPorts(api, temporal, ui, other if metrics else 0)


def _can_be_bound(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def children(pid: int) -> dict[str, int]:
    """Return the process ids of a dev's children: Temporal's server, and the child processes of its sandboxes."""
    listed = await asyncio.create_subprocess_exec("ps", "-axww", "-o", "pid=,ppid=,args=", stdout=subprocess.PIPE)
    out, _ = await listed.communicate()
    found = {}
    for line in out.decode().splitlines():
        child, parent, command = line.split(None, 2)
        if parent == str(pid) and "<defunct>" not in command:
            found["temporal" if "start-dev" in command else f"sandbox {child}"] = int(child)
    return found


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], bool], seconds: float = WAIT_TIMEOUT) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
