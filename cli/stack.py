"""The whole of Hookkeeper on one machine, for `dev` and `demo`: Temporal, worker, API, each a supervised process."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import httpx
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from cli import temporal_server
from cli.datadir import DataDir
from cli.supervisor import Service, Supervisor
from registry.store import Store
from settings import Settings
from workflows import names
from workflows.connection import prepare_namespace

LOOPBACK = "127.0.0.0/8,::1/128"


class PortTaken(Exception):
    """Somebody else listens where we were told to."""


class KeyNeeded(Exception):
    """Reachable from other machines, and the key would be one that only this machine knows."""


@dataclass(frozen=True, slots=True)
class Ports:
    api: int = 8080
    temporal: int = 7233
    ui: int = 8233


@dataclass(frozen=True, slots=True)
class Stack:
    """Where everything is."""

    url: str
    ui_url: str
    admin_key: str
    data_dir: Path
    supervisor: Supervisor


@asynccontextmanager
async def running(
    data: DataDir,
    host: str,
    ports: Ports,
    *,
    on_ready: Callable[[str], None],
    on_event: Callable[[str, str], None],
) -> AsyncIterator[Stack]:
    """Start all services, tell of each that is ready, stop them when the block ends.

    Raises `PortTaken`, `InUse`, `EmbeddedServerError` or `ServiceFailed`, each with a sentence for people.
    """
    with data.locked():
        _check_ports(host, ports)
        settings = _settings(data, host, ports)
        assert settings.admin_key is not None
        async with Supervisor(data.logs, on_event) as supervisor:
            stack = Stack(
                url=settings.public_url,
                ui_url=settings.temporal_ui_url or "",
                admin_key=settings.admin_key.get_secret_value(),
                data_dir=data.path,
                supervisor=supervisor,
            )
            await _start(stack, settings, data, host, ports, on_ready)
            data.tell(stack.url)
            yield stack


async def _start(
    stack: Stack, settings: Settings, data: DataDir, host: str, ports: Ports, on_ready: Callable[[str], None]
) -> None:
    environment = _environment(settings, ports)
    temporal_server.check_version(data.path)
    await stack.supervisor.start(_temporal(data, ports))
    temporal_server.keep_version(data.path)
    client = await Client.connect(f"127.0.0.1:{ports.temporal}")
    await prepare_namespace(client, settings.retention)
    on_ready("Temporal")
    store = Store.connect(settings.database_url)
    await store.migrate()
    await store.close()

    async def worker_polls() -> bool:
        return await _is_polled(client, settings.task_queue)

    await stack.supervisor.start(Service("worker", _hookkeeper("worker"), worker_polls, environment, stop_timeout=35.0))
    on_ready("Worker")

    async def api_answers() -> bool:
        return await _answers(f"http://{_reachable(host)}:{ports.api}/readyz")

    await stack.supervisor.start(Service("api", _hookkeeper("api"), api_answers, environment))
    on_ready("API")


def _temporal(data: DataDir, ports: Ports) -> Service:
    argv = temporal_server.command(
        temporal_server.find_binary(),
        data_dir=data.path,
        host="127.0.0.1",
        port=ports.temporal,
        ui_port=ports.ui,
        search_attributes=names.SEARCH_ATTRIBUTES,
    )

    async def serves() -> bool:
        return await temporal_server.is_serving("127.0.0.1", ports.temporal)

    return Service("temporal", argv, serves, temporal_server.ENVIRONMENT)


def _hookkeeper(command: str) -> list[str]:
    return [sys.executable, "-m", "hookkeeper", command]


def _settings(data: DataDir, host: str, ports: Ports) -> Settings:
    """Give what the environment says, and what `dev` says where it is silent."""
    said = Settings()
    if said.admin_key is None and not _is_loopback(host):
        raise KeyNeeded(f"set HOOKKEEPER_ADMIN_KEY to listen on {host}: other machines can reach it")
    defaults: dict[str, object] = {
        "database_url": data.database_url,
        "admin_key": data.admin_key(),
        "allowed_networks": LOOPBACK,
        "public_url": f"http://{_reachable(host)}:{ports.api}",
        "temporal_ui_url": f"http://127.0.0.1:{ports.ui}",
    }
    given = {name: getattr(said, name) for name in said.model_fields_set}
    return Settings.model_validate(defaults | given | {"host": host, "port": ports.api})


def _environment(settings: Settings, ports: Ports) -> dict[str, str]:
    """Say the settings to a child. Temporal's own point at the embedded server, whatever they said before."""
    assert settings.admin_key is not None
    ours = {
        "DATABASE_URL": settings.database_url,
        "ADMIN_KEY": settings.admin_key.get_secret_value(),
        "ALLOWED_NETWORKS": ",".join(settings.allowed_networks),
        "PUBLIC_URL": settings.public_url,
        "TEMPORAL_UI_URL": settings.temporal_ui_url or "",
        "HOST": settings.host,
        "PORT": str(settings.port),
    }
    temporal = {
        "TEMPORAL_ADDRESS": f"127.0.0.1:{ports.temporal}",
        "TEMPORAL_NAMESPACE": "default",
        "TEMPORAL_CONFIG_FILE": "/dev/null",
        "TEMPORAL_API_KEY": "",
        "TEMPORAL_TLS": "false",
    }
    return {f"HOOKKEEPER_{name}": value for name, value in ours.items()} | temporal


def _check_ports(host: str, ports: Ports) -> None:
    for what, where, port in (
        ("the API", host, ports.api),
        ("Temporal", "127.0.0.1", ports.temporal),
        ("the Temporal web UI", "127.0.0.1", ports.ui),
    ):
        if not temporal_server.is_port_free(where, port):
            raise PortTaken(f"port {port}, for {what}, is in use: stop what uses it, or choose another port")


async def _is_polled(client: Client, task_queue: str) -> bool:
    try:
        answer = await client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace="default",
                task_queue=TaskQueue(name=task_queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
        )
    except RPCError:
        return False
    return len(answer.pollers) > 0


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            return (await client.get(url)).status_code == 200
    except httpx.TransportError:
        return False


def _reachable(host: str) -> str:
    """Give an address to reach a server that listens on `host`: for all addresses, the loopback one."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
