"""All on this machine: Temporal's server in a process of its own; the worker and the API in this one."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from cli import local_settings as local
from cli.console import Failed, InvalidSettings, output_added_to
from cli.datadir import DataDir
from cli.local import temporal_server
from cli.local.child_process import KeptProcess, ProcessFailed, prepare_log
from cli.local.temporal_server import EmbeddedServerError
from cli.operators.startup import connect, exporting_traces, open_metrics, read_settings, show_resources
from cli.ports import LOCALHOST, Ports, listen, reserved
from hookkeeper.settings import BadSetting, Settings

API_GRACE = timedelta(seconds=10)
"""Time in which the API finishes requests."""


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
    metrics: str | None
    """The URL of the metrics, if they are served."""


@asynccontextmanager
async def running(
    data: DataDir,
    ports: Ports,
    host: str = LOCALHOST,
    *,
    send_emails: bool = True,
    encrypt: bool = False,
    on_ready: Callable[[str], None],
    on_event: Callable[[str, str], None],
) -> AsyncIterator[Stack]:
    """Start everything, report what is ready, and stop it when the block ends. The API listens on `host`.

    Without `send_emails`, or without a provider, emails are written to files. `encrypt` makes an encryption key if
    there is none. Raises `Failed`.
    """
    async with AsyncExitStack() as resources:
        resources.enter_context(data.locked())
        configured = read_settings()
        resources.enter_context(reserved(host, ports))
        settings = local.settings_for(configured, data, host, ports, send_emails, encrypt)
        listener = resources.enter_context(listen(host, ports.api))  # before another process takes the port
        assert settings.admin_key is not None
        url, admin_key = local.url(host, ports), settings.admin_key.get_secret_value()
        address, mail_provider = f"{LOCALHOST}:{ports.temporal}", local.mail_provider(settings)
        data.store_api(url, admin_key, ports)
        try:
            temporal = _temporal(data, ports, settings, url, on_event)
            resources.push_async_callback(temporal.stop)
            await temporal.start()
            await _serve(resources, data, ports, settings, temporal, listener, on_ready)
        except BadSetting as error:
            raise InvalidSettings(str(error)) from error
        except (EmbeddedServerError, ProcessFailed, OSError) as error:
            raise Failed(str(error)) from error
        yield Stack(
            url=url,
            ui_url=f"http://{LOCALHOST}:{ports.ui}",
            temporal_address=address,
            admin_key=admin_key,
            data_dir=data.path,
            emails=None if mail_provider else settings.email_capture_dir,
            mail_provider=mail_provider,
            encrypted_by=_source_of_keys(configured, settings, data),
            metrics=f"http://{settings.metrics_address}/metrics" if settings.metrics_address else None,
        )


def shutdown_time(settings: Settings) -> timedelta:
    """Return the time that everything together may take to stop."""
    return API_GRACE + settings.shutdown_timeout + timedelta(seconds=temporal_server.STOP_TIMEOUT)


def _temporal(
    data: DataDir, ports: Ports, settings: Settings, url: str, on_event: Callable[[str, str], None]
) -> KeptProcess:
    codec_endpoint = f"{url}/codec" if settings.encryption_keys else None
    temporal_server.check_version(data.path)
    temporal_server.keep_version(data.path)
    argv = temporal_server.command(data.path, ports, settings.dev_synchronous, codec_endpoint)
    log = data.logs / "temporal.log"
    return KeptProcess("temporal", argv, temporal_server.ENVIRONMENT, log, temporal_server.STOP_TIMEOUT, on_event)


async def _serve(
    resources: AsyncExitStack,
    data: DataDir,
    ports: Ports,
    settings: Settings,
    temporal: KeptProcess,
    listener: socket.socket,
    on_ready: Callable[[str], None],
) -> None:
    """Start the worker and the API. What they write goes to `hookkeeper.log`."""
    from cli.operators.maintenance import migrate_registry
    from cli.operators.run_api import serving
    from cli.operators.run_worker import working
    from cli.processes import freeze_objects
    from hookkeeper import logs  # these imports take a second, in which Temporal starts
    from hookkeeper.registry.store import Store
    from hookkeeper.temporal.gateway import Gateway

    log = data.logs / "hookkeeper.log"
    prepare_log(log)
    resources.enter_context(output_added_to(log))
    logs.configure(settings.log_format)
    keyring = settings.keyring
    store = await resources.enter_async_context(
        Store.connect(settings.database_url, keyring, settings.database_connections)
    )
    await migrate_registry(store)
    is_serving = partial(temporal_server.is_serving, data.path, ports.temporal)
    await temporal.until_ready(is_serving, temporal_server.START_TIMEOUT)
    on_ready("Temporal")
    traces, metrics = exporting_traces(settings.otlp_endpoint, "dev"), open_metrics(settings)
    await resources.enter_async_context(traces)
    client = await connect(settings, keyring, metrics.runtime, f"{LOCALHOST}:{ports.temporal}")
    show_resources(settings, store, client)
    await resources.enter_async_context(working(client, store, settings, local=True))
    on_ready("Worker")
    gateway = Gateway(client, settings.task_queue, store.rows)
    await resources.enter_async_context(serving(gateway, store, settings, metrics, listener))
    on_ready("API")
    freeze_objects()


def _source_of_keys(configured: Settings, settings: Settings, data: DataDir) -> str | None:
    if settings.encryption_keys is None:
        return None
    return "HOOKKEEPER_ENCRYPTION_KEYS" if configured.encryption_keys else str(data.key_file)
