"""As in a container with a read-only file system: migrate, api and worker write no file and have no home directory."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import processes
from temporalio.client import Client

from receivers import Receiver

KEY = "a-key-for-tests-only"


@asynccontextmanager
async def unable_to_write(command: str, settings: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command that cannot write a byte to any file; it is killed when the block ends."""
    environment = processes.environment(settings) | {"PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("HOME", None)
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'ulimit -f 0 && exec "$@"', "sh", sys.executable, "-m", "hookkeeper", command),
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_delivers_without_writing_to_a_file(temporal: Client, postgres_url: str, inbox: Receiver) -> None:
    port = processes.free_ports().api
    settings = {
        "HOOKKEEPER_ADMIN_KEY": KEY,
        "HOOKKEEPER_DATABASE_URL": postgres_url,
        "HOOKKEEPER_PORT": str(port),
        "HOOKKEEPER_ALLOWED_NETWORKS": "127.0.0.0/8",
        "HOOKKEEPER_TASK_QUEUE": f"read-only-{uuid.uuid4().hex[:8]}",
        "TEMPORAL_ADDRESS": temporal.service_client.config.target_host,
    }
    async with AsyncExitStack() as running:
        migrate = await running.enter_async_context(unable_to_write("migrate", settings))
        assert await asyncio.wait_for(migrate.wait(), processes.START) == 0
        api = await running.enter_async_context(unable_to_write("api", settings))
        await running.enter_async_context(unable_to_write("worker", settings))
        http = await running.enter_async_context(
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                headers={"authorization": f"Bearer {KEY}"},
                trust_env=False,
                timeout=30,
            )
        )
        await until_serving(api, http)
        # What runs in a sandbox, and a notification.
        webhook = {
            "url": inbox.url,
            "events": ["*"],
            "filter": "event.data.amount > 1",
            "payload": {"template": '{"paid": {{ event.data.amount }}}'},
            "notifications": [{"service": f"ntfys://{inbox.url.split('/')[2]}/topic", "body": "Paid"}],
            "retry": {"schedule": []},
        }
        assert (await http.post("/v1/webhooks", json=webhook)).status_code == 201
        await http.post("/v1/events", json={"type": "order.paid", "id": "e", "data": {"amount": 2}})
        delivered, notified = (await until_final(http))["deliveries"]
    assert delivered["status"] == "succeeded"
    assert inbox.requests[0].body == b'{"paid": 2}'
    assert notified["attempts"][0]["error"] == "tls"  # it got as far as the receiver, who has no certificate


async def until_final(http: httpx.AsyncClient) -> dict[str, Any]:
    async with asyncio.timeout(processes.START):
        while True:
            event = (await http.get("/v1/events/e")).json()
            if event.get("status") in processes.FINAL:
                return event  # type: ignore[no-any-return]
            await asyncio.sleep(0.05)


async def until_serving(api: asyncio.subprocess.Process, http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(processes.START):
        while True:
            assert api.returncode is None and api.stdout, await api.communicate()
            try:
                if (await http.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
