"""A stack on this machine: Temporal, workers, the API, and a database server if needed. Each is a supervised process.

`dev`, `demo`, the benchmarks and the fault drills all run a stack.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from hookkeeper.cli import local, temporal_server
from hookkeeper.cli.child_process import Start, execute
from hookkeeper.cli.console import Failed, InvalidSettings
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.fork_server import ForkServer
from hookkeeper.cli.ports import LOCALHOST, Ports, reserved
from hookkeeper.cli.readiness import read_readiness
from hookkeeper.cli.shutdown import SHUTDOWN_MARGIN
from hookkeeper.cli.startup import read_settings
from hookkeeper.cli.supervisor import Service, ServiceFailed, ServiceMisconfigured, Supervisor
from hookkeeper.registry import migrations
from hookkeeper.settings import Settings

API_STOP_TIMEOUT = 25.0
"""Seconds after which the API is killed if it has not stopped."""
START_TIMEOUT = 120.0
"""Seconds in which a worker or the API has to be ready; this includes the start of Temporal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """What a stack consists of."""

    data: DataDir
    ports: Ports
    host: str = LOCALHOST
    """The address on which the API listens."""
    settings: Settings | None = None
    """None: those of the environment."""
    send_emails: bool = True
    """False, or no provider is set: emails are written to files."""
    encrypt: bool = False
    """Create an encryption key if there is none."""
    database: Service | None = None
    """A database server for the registry. Without one, the registry is a SQLite file."""
    workers: tuple[str, ...] = ("worker",)
    temporal: Service | None = None
    """A Temporal server that listens on `ports.temporal` and has the namespace `default`. None: the embedded one."""
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Further environment variables of a worker or the API, by its name."""
    forks: ForkServer | None = None
    """Forks workers and the API. Without it they are executed."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that runs."""

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
    metrics: tuple[str, ...]
    """URLs of the metrics of API and worker."""
    supervisor: Supervisor
    services: Mapping[str, Service]


def _ignore(*_: str) -> None:
    """Report nothing."""


@asynccontextmanager
async def running(
    plan: StackPlan,
    *,
    on_ready: Callable[[str], None] = _ignore,
    on_event: Callable[[str, str], None] = _ignore,
) -> AsyncIterator[Stack]:
    """Start all services, report each that is ready, and stop them when the block ends.

    Raises `Failed`, or `InvalidSettings` if a service has an invalid setting.
    """
    data, ports = plan.data, plan.ports
    async with AsyncExitStack() as resources:
        resources.enter_context(data.locked())
        configured = plan.settings or read_settings()
        resources.enter_context(reserved(plan.host, ports))
        settings = local.settings_for(configured, data, plan.host, ports, plan.send_emails, plan.encrypt)
        assert settings.admin_key is not None
        url, admin_key = local.url(plan.host, ports), settings.admin_key.get_secret_value()
        encrypted_by = local.encrypted_by(configured, settings, data)
        mail_provider = local.mail_provider(settings)
        supervisor = await resources.enter_async_context(Supervisor(data.logs, on_event))
        data.store_api(url, admin_key)
        try:
            codec_endpoint = f"{url}/codec" if encrypted_by else None
            temporal = plan.temporal or _embedded_server(data.path, ports, settings, codec_endpoint)
            hookkeeper = _hookkeeper_services(plan, settings, url)
            await asyncio.gather(
                _start(supervisor, temporal, on_ready),
                _start_hookkeeper(supervisor, plan, settings, hookkeeper, on_ready),
            )
        except ServiceMisconfigured as error:
            raise InvalidSettings(str(error)) from error
        except (temporal_server.EmbeddedServerError, ServiceFailed, OSError) as error:
            raise Failed(str(error)) from error
        yield Stack(
            url=url,
            ui_url=f"http://{LOCALHOST}:{ports.ui}",
            temporal_address=f"{LOCALHOST}:{ports.temporal}",
            admin_key=admin_key,
            data_dir=data.path,
            emails=None if mail_provider else settings.email_capture_dir,
            mail_provider=mail_provider,
            encrypted_by=encrypted_by,
            metrics=local.metrics_urls(ports),
            supervisor=supervisor,
            services={service.name: service for service in (temporal, *_database(plan), *hookkeeper)},
        )


def shutdown_time(settings: Settings) -> timedelta:
    """Return the time that all services together may take to stop."""
    return timedelta(seconds=API_STOP_TIMEOUT + _worker_stop_timeout(settings) + temporal_server.STOP_TIMEOUT)


def _embedded_server(data: Path, ports: Ports, settings: Settings, codec_endpoint: str | None) -> Service:
    temporal_server.check_version(data)
    temporal_server.keep_version(data)
    return temporal_server.service(data, ports, settings.dev_synchronous, codec_endpoint)


async def _start_hookkeeper(
    supervisor: Supervisor,
    plan: StackPlan,
    settings: Settings,
    services: list[Service],
    on_ready: Callable[[str], None],
) -> None:
    """Start the workers and the API as soon as the registry has its tables. They wait for Temporal themselves."""
    for database in _database(plan):
        await supervisor.start(database)
    if not _is_migrated(plan, settings):
        # A process of its own: `dev` would keep the memory of SQLAlchemy and Alembic.
        argv = [sys.executable, "-m", "hookkeeper", "migrate", "--registry-only"]
        await supervisor.run("migrate", argv, local.environment(settings, plan.ports), _start_of(plan))
    await asyncio.gather(*(_start(supervisor, service, on_ready) for service in services))


def _start_of(plan: StackPlan) -> Start:
    return plan.forks.start if plan.forks else execute


def _database(plan: StackPlan) -> tuple[Service, ...]:
    return (plan.database,) if plan.database else ()


def _is_migrated(plan: StackPlan, settings: Settings) -> bool:
    """Return whether the registry is known to be up to date. With keys, rows may have to be encrypted again."""
    if settings.encryption_keys or settings.database_url != plan.data.database_url:
        return False
    return migrations.is_newest(plan.data.registry)


def _hookkeeper_services(plan: StackPlan, settings: Settings, url: str) -> list[Service]:
    """Describe the workers and the API. The API tells whether each of them is ready."""

    async def answers() -> bool:
        return bool(await read_readiness(url))

    async def is_polled() -> bool:
        return (await read_readiness(url)).get("workers") == "running"

    shared = local.environment(settings, plan.ports)

    def service(name: str, arguments: list[str], ready: Callable[[], Awaitable[bool]], stop_timeout: float) -> Service:
        return Service(
            name,
            [sys.executable, "-m", "hookkeeper", *arguments],
            ready,
            {**shared, **local.metrics_address(name, plan.ports), **plan.environments.get(name, {})},
            start=_start_of(plan),
            stop_timeout=stop_timeout,
            start_timeout=START_TIMEOUT,
        )

    workers = [service(name, ["worker", "--local"], is_polled, _worker_stop_timeout(settings)) for name in plan.workers]
    return [*workers, service("api", ["api"], answers, API_STOP_TIMEOUT)]


async def _start(supervisor: Supervisor, service: Service, on_ready: Callable[[str], None]) -> None:
    await supervisor.start(service)
    on_ready("API" if service.name == "api" else service.name.capitalize())


def _worker_stop_timeout(settings: Settings) -> float:
    """Return the seconds after which a worker is killed: more than its own deadline."""
    return (settings.shutdown_timeout + SHUTDOWN_MARGIN).total_seconds() + 5
