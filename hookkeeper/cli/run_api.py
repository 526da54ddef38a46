"""`hookkeeper api`."""

import asyncio
import socket
from datetime import timedelta
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from temporalio.client import Client

from api.app import create_app
from api.connections import BoundedProtocol, ClientTimeouts, bounded
from hookkeeper import logs
from hookkeeper.cli.console import Failed
from hookkeeper.cli.processes import freeze_objects, run, until_stopped
from hookkeeper.cli.shutdown import ShutdownDeadline
from hookkeeper.cli.startup import connect, read_settings
from hookkeeper.loop_monitor import monitored
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway

log = structlog.get_logger("hookkeeper.api")
REQUEST_GRACE = timedelta(seconds=10)
"""Maximum time in which a stopping API finishes requests."""


def run_api() -> None:
    """Serve until stopped, then finish the requests in progress."""
    settings = read_settings()
    if settings.admin_key is None:
        raise Failed("HOOKKEEPER_ADMIN_KEY is not set")
    logs.configure(settings.log_format)
    run(_serve(settings))


async def _serve(settings: Settings) -> None:
    deadline = ShutdownDeadline(min(settings.shutdown_timeout, REQUEST_GRACE))
    keyring = settings.keyring
    store = Store.connect(settings.database_url, keyring)
    try:
        async with until_stopped(deadline=deadline):
            client = await connect(keyring)
            await _serve_http(settings, store, client)
    finally:
        deadline.begin()
        await store.close()


def listen(host: str, port: int) -> socket.socket:
    """Bind the port here, because uvicorn would end the process with a traceback."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = addresses[0]
        return _listen_on(socket.socket(family, kind, protocol), address)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise Failed(f"cannot listen on {host}, port {port}: {reason}") from error


def _listen_on(listener: socket.socket, address: Any) -> socket.socket:
    """Listen on a socket that was made with its protocol.

    asyncio disables Nagle's algorithm only for such sockets; otherwise each response on a kept-alive connection takes
    40 ms.
    """
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def server_config(
    app: FastAPI, protocol: type[BoundedProtocol], shutdown_timeout: timedelta = REQUEST_GRACE
) -> uvicorn.Config:
    """Configure uvicorn. WebSockets are off: a connection that changes its protocol would escape its limits."""
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(min(shutdown_timeout, REQUEST_GRACE).total_seconds()),
    )


async def _serve_http(settings: Settings, store: Store, client: Client) -> None:
    """Serve until cancelled."""
    listener = listen(settings.host, settings.port)
    app = create_app(settings, store, Gateway(client, settings.task_queue))
    protocol = bounded(settings.max_connections, ClientTimeouts())
    server = uvicorn.Server(server_config(app, protocol, settings.shutdown_timeout))
    freeze_objects()
    log.info("serving", host=settings.host, port=settings.port)
    with monitored(settings.debug_event_loop):
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await serving
