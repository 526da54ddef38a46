"""What API and worker tell of themselves: before Temporal is there, while they work, and before they stop."""

import asyncio
import json
import signal
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import processes

import temporal_processes
from drills.stack import temporal_service
from drills.supervisor import Supervisor
from hookkeeper.version import VERSION
from timeouts import CALL_TIMEOUT, WAIT_TIMEOUT

KEY = "a-key-for-tests-only"
EVENT = {"type": "order.paid", "tenant": "acme"}
DELAY = 1.0


async def answer(http: httpx.AsyncClient, method: str, url: str, **body: Any) -> tuple[int, dict[str, Any]]:
    """Return the status and the body; 0 if nothing listens."""
    try:
        got = await http.request(method, url, json=body or None)
    except httpx.TransportError:
        return 0, {}
    return got.status_code, got.json()


async def until_status(http: httpx.AsyncClient, method: str, url: str, status: int, **body: Any) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            got, shown = await answer(http, method, url, **body)
            if got == status:
                return shown
            await asyncio.sleep(0.05)


def waits(process: processes.Process) -> list[float]:
    lines = [json.loads(line) for line in process.err.read_text().splitlines()]
    return [line["retry_in"] for line in lines if line["event"] == "waiting for Temporal"]


async def test_api_and_worker_wait_for_temporal_and_say_so(tmp_path: Path) -> None:
    """Timeline: both start without Temporal; Temporal starts; an event is accepted; the API is told to stop.

    Proves: liveness from the start on, readiness only while events are accepted.
    """
    ports, free = temporal_processes.free_ports(), processes.free_ports()
    port, metrics = free.api, free.ui
    settings = {
        "HOOKKEEPER_ADMIN_KEY": KEY,
        "HOOKKEEPER_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'registry.db'}",
        "HOOKKEEPER_PORT": str(port),
        "HOOKKEEPER_LOG_FORMAT": "json",
        "HOOKKEEPER_SHUTDOWN_DELAY": str(DELAY),
        "TEMPORAL_ADDRESS": f"127.0.0.1:{ports.temporal}",
    }
    worker_settings = settings | {"HOOKKEEPER_METRICS_ADDRESS": f"127.0.0.1:{metrics}"}
    health = f"http://127.0.0.1:{metrics}/healthz"
    assert (await processes.hookkeeper("migrate", "--registry-only", cwd=tmp_path, settings=settings)).code == 0
    async with AsyncExitStack() as stack:
        nothing_listens = stack.enter_context(socket.socket())  # and no other process takes the port meanwhile
        nothing_listens.bind(("127.0.0.1", ports.temporal))
        worker = await stack.enter_async_context(processes.process("worker", cwd=tmp_path, settings=worker_settings))
        api = await stack.enter_async_context(processes.process("api", cwd=tmp_path, settings=settings))
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, headers={"authorization": f"Bearer {KEY}"}
            )
        )
        await until_status(http, "GET", "/healthz", 200)
        assert (await until_status(http, "GET", health, 200)) == {
            "status": "ok",
            "temporal": "unavailable",
            "version": VERSION,
        }
        assert await until_status(http, "GET", "/readyz", 200) == {
            "status": "ready",
            "temporal": "away",
            "workers": "unknown",
        }
        assert (await answer(http, "POST", "/v1/events", **EVENT))[0] == 202
        for process in (api, worker):
            await process.says("waiting for Temporal", times=4)
            assert waits(process) == sorted(waits(process)), "longer each time"

        nothing_listens.close()
        supervisor = await stack.enter_async_context(Supervisor(tmp_path))
        await supervisor.start(temporal_service(tmp_path, ports))
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await until_status(http, "GET", "/readyz", 200))["temporal"] == "away":
                await asyncio.sleep(0.1)
        assert await until_status(http, "POST", "/v1/events", 202, **EVENT)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not (await until_status(http, "GET", health, 200)).get("last_poll"):
                await asyncio.sleep(0.1)

        api.process.send_signal(signal.SIGTERM)
        problem = await until_status(http, "GET", "/readyz", 503)
        assert "about to stop" in problem["detail"]
        assert (await answer(http, "POST", "/v1/events", **EVENT))[0] == 202
        assert await api.process.wait() == 0
        assert await worker.stop(signal.SIGTERM) == 0
        assert "Traceback" not in api.err.read_text() + worker.err.read_text()


async def test_a_process_that_waits_for_temporal_stops_at_once(tmp_path: Path) -> None:
    settings = {
        "HOOKKEEPER_ADMIN_KEY": KEY,
        "HOOKKEEPER_PORT": str(processes.free_ports().api),
        "TEMPORAL_ADDRESS": f"127.0.0.1:{processes.free_ports().temporal}",
    }

    async def stops(command: str, number: signal.Signals) -> None:
        async with processes.process(command, cwd=tmp_path, settings=settings) as waiting:
            await waiting.says("waiting for Temporal")
            assert await waiting.stop(number, CALL_TIMEOUT) == 0
            assert "Traceback" not in waiting.err.read_text()

    await asyncio.gather(stops("worker", signal.SIGTERM), stops("api", signal.SIGINT))


async def test_an_address_that_is_none_ends_the_api(tmp_path: Path) -> None:
    settings = {
        "HOOKKEEPER_ADMIN_KEY": KEY,
        "HOOKKEEPER_PORT": str(processes.free_ports().api),
        "TEMPORAL_ADDRESS": "127.0.0.1:port",
    }
    done = await processes.hookkeeper("api", cwd=tmp_path, settings=settings)
    assert done.code == 78
    assert "invalid settings of Temporal (TEMPORAL_…): invalid target URL" in done.err


async def test_what_ends_a_process_is_a_line_like_all_others(tmp_path: Path) -> None:
    settings = {"HOOKKEEPER_LOG_FORMAT": "json", "HOOKKEEPER_HOST": "nowhere.invalid", "HOOKKEEPER_ADMIN_KEY": KEY}
    unset, wrong, failed = await asyncio.gather(
        processes.hookkeeper("api", cwd=tmp_path, settings=settings | {"HOOKKEEPER_ADMIN_KEY": KEY[:3]}),
        processes.hookkeeper("worker", cwd=tmp_path, settings=settings | {"HOOKKEEPER_PORT": "x"}),
        processes.hookkeeper("api", cwd=tmp_path, settings=settings, fresh=True),
    )
    for done, code, detail in (
        (unset, 78, "HOOKKEEPER_ADMIN_KEY: must have 16 characters"),
        (wrong, 78, "HOOKKEEPER_PORT"),
        (failed, 1, "cannot listen on nowhere.invalid"),
    ):
        *_, last = map(json.loads, done.err.splitlines())
        assert (done.code, last["event"], last["level"], last["exit_code"]) == (code, "failed", "critical", code)
        assert detail in last["detail"]


async def test_an_error_that_nothing_handles_is_a_line_too(tmp_path: Path) -> None:
    script = "from hookkeeper import logs; logs.configure('json'); raise ValueError('a bug')"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), cwd=processes.ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, written = await process.communicate()
    (line,) = map(json.loads, written.splitlines())
    assert (process.returncode, line["event"], line["level"]) == (1, "unhandled error", "critical")
    assert "ValueError: a bug" in line["exception"]


async def test_settings_can_be_in_files_of_their_own(tmp_path: Path) -> None:
    """As systemd hands over credentials; `/run/secrets` is read in the same way. The environment comes first."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "hookkeeper_database_url").write_text(f"sqlite+aiosqlite:///{tmp_path / 'of-file.db'}\n")
    (secrets / "HOOKKEEPER_ADMIN_KEY").write_text("short\n")
    settings = {"CREDENTIALS_DIRECTORY": str(secrets)}
    refused = await processes.hookkeeper("migrate", "--registry-only", cwd=tmp_path, settings=settings, fresh=True)
    assert (refused.code, "HOOKKEEPER_ADMIN_KEY: must have 16 characters" in refused.err) == (78, True)
    settings |= {"HOOKKEEPER_ADMIN_KEY": KEY}
    done = await processes.hookkeeper("migrate", "--registry-only", cwd=tmp_path, settings=settings, fresh=True)
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "of-file.db").exists()
