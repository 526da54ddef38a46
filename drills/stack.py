"""A stack on this machine: Temporal, workers, the API, and a database server if needed. Each is a supervised process.

Drills and benchmarks run one, as an installation does: `hookkeeper dev` has the worker and the API in one process.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from cli import local_settings as local
from cli.console import Failed
from cli.datadir import DataDir
from cli.local import temporal_server
from cli.local.child_process import ProcessFailed
from cli.operators.startup import read_settings
from cli.ports import LOCALHOST, Ports, reserved
from drills.supervisor import Service, Supervisor
from hookkeeper import temporal_names
from hookkeeper.settings import Settings

READINESS_TIMEOUT = 2.0
"""Seconds in which the API has to say whether it is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """What a stack consists of."""

    data: DataDir
    ports: Ports
    settings: Settings | None = None
    """None: those of the environment. Emails are written to files in any case."""
    encrypt: bool = False
    """Create an encryption key if there is none."""
    workers: tuple[str, ...] = ("worker",)
    apis: tuple[str, ...] = ("api",)
    foundation: Callable[[Supervisor], Awaitable[Sequence[Service]]] | None = None
    """Starts and returns what Hookkeeper needs. None: the embedded Temporal server; the registry is a SQLite file."""
    as_in_production: bool = False
    """The commands are those of production: `migrate`, workers of a version, APIs, `promote`."""
    environments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Further environment variables of a worker, an API or a command, by its name."""
    python: str = sys.executable
    """The interpreter of workers and API, which may be that of another checkout."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that runs."""

    url: str
    temporal_address: str
    admin_key: str
    data_dir: Path
    supervisor: Supervisor
    services: Mapping[str, Service]
    commands: Mapping[str, Mapping[str, str]]
    """The variables of the commands `migrate` and `promote`."""


@asynccontextmanager
async def running(plan: StackPlan) -> AsyncIterator[Stack]:
    """Start all services, and stop them when the block ends. Raises `Failed`."""
    data, ports = plan.data, plan.ports
    async with AsyncExitStack() as resources:
        resources.enter_context(data.locked())
        resources.enter_context(reserved(LOCALHOST, ports))
        configured = plan.settings or read_settings()
        settings = local.settings_for(configured, data, LOCALHOST, ports, send_emails=False, encrypt=plan.encrypt)
        assert settings.admin_key is not None
        url = local.url(LOCALHOST, ports)
        supervisor = await resources.enter_async_context(Supervisor(data.logs))
        hookkeeper = _hookkeeper_services(plan, settings, url)
        commands = {command: _variables(plan, settings, command) for command in ("migrate", "promote")}

        async def run(command: str, *options: str) -> None:
            await supervisor.run(command, [plan.python, "-m", "hookkeeper", command, *options], commands[command])

        try:
            if plan.foundation:
                below = await plan.foundation(supervisor)
            else:
                below = [temporal_service(data.path, ports, settings.dev_synchronous)]
                await supervisor.start(below[0])
            await run("migrate", "--wait=60" if plan.as_in_production else "--registry-only")
            await asyncio.gather(*map(supervisor.start, hookkeeper))
            if plan.as_in_production:
                await run("promote")
        except (ProcessFailed, OSError) as error:
            raise Failed(str(error)) from error
        yield Stack(
            url=url,
            temporal_address=f"{LOCALHOST}:{ports.temporal}",
            admin_key=settings.admin_key.get_secret_value(),
            data_dir=data.path,
            supervisor=supervisor,
            services={service.name: service for service in (*below, *hookkeeper)},
            commands=commands,
        )


def temporal_service(
    data_dir: Path,
    ports: Ports,
    synchronous: temporal_server.Synchronous = "normal",
    search_attributes: Mapping[str, str] = temporal_names.SEARCH_ATTRIBUTES,
    dynamic_config: tuple[str, ...] = (),
) -> Service:
    """Describe an embedded Temporal server."""
    argv = temporal_server.command(
        data_dir, ports, synchronous, search_attributes=search_attributes, dynamic_config=dynamic_config
    )

    async def ready() -> bool:
        return await temporal_server.is_serving(data_dir, ports.temporal)

    return Service("temporal", argv, ready, temporal_server.ENVIRONMENT, stop_timeout=temporal_server.STOP_TIMEOUT)


def _variables(plan: StackPlan, settings: Settings, command: str) -> dict[str, str]:
    """Return the variables of a command: its own, or those of the first API."""
    own = plan.environments.get(command, plan.environments.get(plan.apis[0], {}))
    return {**_environment(settings, plan.ports), **own}


def _hookkeeper_services(plan: StackPlan, settings: Settings, url: str) -> list[Service]:
    """Describe the workers and the APIs. Each tells whether it is ready; of a `--local` worker, the API tells."""
    shared = _environment(settings, plan.ports)

    def service(name: str, *arguments: str) -> Service:
        variables = {**shared, **plan.environments.get(name, {})}

        async def is_ready() -> bool:
            if name in plan.apis:
                return bool(await probe(f"http://{variables['HOOKKEEPER_HOST']}:{variables['HOOKKEEPER_PORT']}/readyz"))
            if "--local" in arguments:
                return (await probe(f"{url}/readyz")).get("workers") == "running"
            found = await probe(f"http://{variables['HOOKKEEPER_METRICS_ADDRESS']}/healthz")
            return bool(found.get("last_poll"))

        return Service(name, [plan.python, "-m", "hookkeeper", *arguments], is_ready, variables)

    worker = ("worker",) if plan.as_in_production else ("worker", "--local")
    return [*(service(name, *worker) for name in plan.workers), *(service(name, "api") for name in plan.apis)]


async def probe(url: str) -> Mapping[str, Any]:
    """Return what a process tells of itself; nothing if there is no answer, or it is not ready."""
    with suppress(httpx.TransportError, ValueError):  # ValueError: it is not JSON
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=READINESS_TIMEOUT) as http:
            answer = await http.get(url)
            state: Mapping[str, Any] = answer.json() if answer.is_success else {}
            return state
    return {}


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Return the check whether a process tells there that it is ready."""

    async def is_ready() -> bool:
        return bool(await probe(url))

    return is_ready


def client(url: str, key: str, timeout: float = 10.0) -> httpx.AsyncClient:
    """Return a client of an API."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=timeout)


def _environment(settings: Settings, ports: Ports) -> dict[str, str]:
    """Return the environment of a process. Temporal's own variables are replaced by those of the stack's server."""
    assert settings.admin_key is not None
    hookkeeper = {
        "DATABASE_URL": settings.database_url,
        "ADMIN_KEY": settings.admin_key.get_secret_value(),
        "ENCRYPTION_KEYS": _secret(settings.encryption_keys),
        "ALLOWED_NETWORKS": ",".join(settings.allowed_networks),
        "EMAIL_CAPTURE_DIR": str(settings.email_capture_dir or ""),
        "SENDGRID_API_KEY": _secret(settings.sendgrid_api_key),
        "SMTP_URL": _secret(settings.smtp_url),
        "PUBLIC_URL": settings.public_url,
        "TEMPORAL_UI_URL": settings.temporal_ui_url or "",
        "DEPLOYMENT_VERSION": "",  # one version: there is nothing to switch
        "METRICS_ADDRESS": "",
        "SHUTDOWN_DELAY": "0",  # no load balancer has to know that the API stops
        "HOST": settings.host,
        "PORT": str(settings.port),
    }
    temporal = {
        "TEMPORAL_ADDRESS": f"{LOCALHOST}:{ports.temporal}",
        "TEMPORAL_NAMESPACE": "default",
        "TEMPORAL_PROFILE": "",
        "TEMPORAL_CONFIG_FILE": "/dev/null",
        "TEMPORAL_API_KEY": "",
        "TEMPORAL_TLS": "false",
    }
    return {f"HOOKKEEPER_{name}": value for name, value in hookkeeper.items()} | temporal


def _secret(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
