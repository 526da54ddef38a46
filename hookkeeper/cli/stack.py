"""All services on one machine, for `dev` and `demo`: Temporal, worker and API, each a supervised process."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.cli import local, temporal_server
from hookkeeper.cli.console import Failed
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.environment import read_settings
from hookkeeper.cli.local import Ports
from hookkeeper.cli.shutdown import SHUTDOWN_MARGIN
from hookkeeper.cli.supervisor import Service, ServiceFailed, Supervisor
from hookkeeper.cli.temporal import is_polled
from hookkeeper.settings import Settings
from hookkeeper.temporal.namespace import prepare

API_STOP, TEMPORAL_STOP = 25.0, 10.0
"""Seconds after which these are killed if they have not stopped."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses, key and folders of the running services."""

    url: str
    ui_url: str
    temporal_address: str
    admin_key: str
    data_dir: Path
    emails: Path | None
    """The folder to which emails are written; None if a provider sends them."""
    mail_provider: str | None
    """The mail provider, if any."""
    encrypted_by: str | None
    """The source of the keys; None without encryption."""
    supervisor: Supervisor


@asynccontextmanager
async def running(
    data: DataDir,
    host: str,
    ports: Ports,
    *,
    send_emails: bool = True,
    encrypt: bool = False,
    on_ready: Callable[[str], None],
    on_event: Callable[[str, str], None],
) -> AsyncIterator[Stack]:
    """Start all services, report each that is ready, and stop them when the block ends. Raises `Failed`.

    Emails are written to files if no provider is set, or if `send_emails` is false.
    `encrypt` creates a key if there is none.
    """
    with data.locked():
        said = read_settings()
        _check_ports(host, ports)
        settings = local.settings_for(said, data, host, ports, send_emails, encrypt)
        provider = local.mail_provider(settings)
        assert settings.admin_key is not None
        async with Supervisor(data.logs, on_event) as supervisor:
            stack = Stack(
                url=local.url(host, ports),
                ui_url=f"http://127.0.0.1:{ports.ui}",
                temporal_address=f"127.0.0.1:{ports.temporal}",
                admin_key=settings.admin_key.get_secret_value(),
                data_dir=data.path,
                emails=None if provider else settings.email_capture_dir,
                mail_provider=provider,
                encrypted_by=local.encrypted_by(said, settings, data),
                supervisor=supervisor,
            )
            data.tell(stack.url, stack.admin_key)
            try:
                await _start(stack, settings, data, ports, on_ready)
            except (temporal_server.EmbeddedServerError, ServiceFailed) as error:
                raise Failed(str(error)) from error
            yield stack


def shutdown_time(settings: Settings) -> timedelta:
    """Return the time that all services together may take to stop."""
    return timedelta(seconds=API_STOP + _worker_stop(settings) + TEMPORAL_STOP)


def _worker_stop(settings: Settings) -> float:
    """Return the seconds after which a worker is killed: more than its own deadline."""
    return (settings.shutdown_timeout + SHUTDOWN_MARGIN).total_seconds() + 5


async def _start(
    stack: Stack, settings: Settings, data: DataDir, ports: Ports, on_ready: Callable[[str], None]
) -> None:
    temporal_server.check_version(data.path)
    await stack.supervisor.start(_temporal(settings, data, ports, f"{stack.url}/codec" if stack.encrypted_by else None))
    temporal_server.keep_version(data.path)
    client = await Client.connect(stack.temporal_address)
    await prepare(client, settings.retention)
    on_ready("Temporal")
    from hookkeeper.cli.run_migrate import migrate_registry  # takes a second, so import it after the first output

    await migrate_registry(settings)

    async def start(name: str, service: Service) -> None:
        await stack.supervisor.start(service)
        on_ready(name)

    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=2) as http:
        await asyncio.gather(
            start("Worker", _worker(client, settings, ports)),
            start("API", _api(settings, ports, http)),
        )


def _temporal(settings: Settings, data: DataDir, ports: Ports, codec_endpoint: str | None) -> Service:
    argv = temporal_server.command(
        temporal_server.find_binary(),
        data_dir=data.path,
        host="127.0.0.1",
        port=ports.temporal,
        ui_port=ports.ui,
        search_attributes=ids.SEARCH_ATTRIBUTES,
        codec_endpoint=codec_endpoint,
        synchronous=settings.dev_synchronous,
    )

    async def serves() -> bool:
        return await temporal_server.is_serving("127.0.0.1", ports.temporal)

    return Service("temporal", argv, serves, temporal_server.ENVIRONMENT, stop_timeout=TEMPORAL_STOP)


def _worker(client: Client, settings: Settings, ports: Ports) -> Service:
    async def polls() -> bool:
        return await is_polled(client, settings.task_queue)

    return Service(
        "worker", _hookkeeper("worker"), polls, local.environment(settings, ports), stop_timeout=_worker_stop(settings)
    )


def _api(settings: Settings, ports: Ports, http: httpx.AsyncClient) -> Service:
    async def answers() -> bool:
        try:
            return (await http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    # It loads while the worker does and serves after it, so when the API is ready, everything is.
    argv = _hookkeeper("api", "--after-worker")
    return Service("api", argv, answers, local.environment(settings, ports), stop_timeout=API_STOP)


def _hookkeeper(*command: str) -> list[str]:
    return [sys.executable, "-m", "hookkeeper", *command]


def _check_ports(host: str, ports: Ports) -> None:
    if len({ports.api, ports.temporal, ports.ui}) < 3:
        raise Failed("the API, Temporal and the Temporal web UI need different ports")
    for what, where, port in (
        ("the API", host, ports.api),
        ("Temporal", "127.0.0.1", ports.temporal),
        ("the Temporal web UI", "127.0.0.1", ports.ui),
    ):
        try:
            is_free = temporal_server.is_port_free(where, port)
        except socket.gaierror as error:
            raise Failed(f"{where} is not an address of this machine: {error.strerror}") from error
        if not is_free:
            raise Failed(f"port {port} for {what} is in use: stop the process that uses it, or choose another port")
