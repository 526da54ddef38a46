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
from api.connections import BoundedProtocol, Patience, bounded
from hookkeeper import logs
from hookkeeper.cli import temporal
from hookkeeper.cli.console import Failed
from hookkeeper.cli.processes import keep_all_that_is, run, until_stopped
from hookkeeper.cli.shutdown import ShutdownDeadline
from hookkeeper.loop_monitor import monitored
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway

log = structlog.get_logger("hookkeeper.api")
REQUEST_GRACE = timedelta(seconds=10)
"""A stopping API finishes requests for so long at most."""
WORKER_PATIENCE = 10.0
"""Seconds that an API which is to come after a worker waits for one."""


def run_api(settings: Settings, *, after_worker: bool) -> None:
    """Serve until told to stop, then finish the requests that are under way."""
    if settings.admin_key is None:
        raise Failed("HOOKKEEPER_ADMIN_KEY is not set: nobody could use the API")
    logs.configure(settings.log_format)
    run(_serve(settings, after_worker))


async def _serve(settings: Settings, after_worker: bool) -> None:
    deadline = ShutdownDeadline(min(settings.shutdown_timeout, REQUEST_GRACE))
    keyring = settings.keyring
    store = Store.connect(settings.database_url, keyring)
    try:
        async with until_stopped(deadline=deadline):
            client = await temporal.connect(keyring)
            if after_worker:
                await _wait_for_worker(client, settings.task_queue)
            await _serve_http(settings, store, client)
    finally:
        deadline.begin()
        await store.close()


async def _wait_for_worker(client: Client, task_queue: str) -> None:
    """Wait, but not for ever: events can be accepted without a worker."""
    try:
        async with asyncio.timeout(WORKER_PATIENCE):
            while True:
                if await temporal.is_polled(client, task_queue):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        return


def listen(host: str, port: int) -> socket.socket:
    """Take the port. Where uvicorn cannot, it ends the process with a traceback."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = found[0]
        return _listener(socket.socket(family, kind, protocol), address)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise Failed(f"cannot listen on {host}, port {port}: {reason}") from error


def _listener(taken: socket.socket, address: Any) -> socket.socket:
    """Listen on a socket that was made with its protocol.

    asyncio turns Nagle's algorithm off only where it sees that a socket is TCP; with it on, each answer on a connection
    that is kept takes 40 ms.
    """
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(2048)
    except OSError:
        taken.close()
        raise
    return taken


def server_config(
    app: FastAPI, protocol: type[BoundedProtocol], shutdown_timeout: timedelta = REQUEST_GRACE
) -> uvicorn.Config:
    """Say how uvicorn serves. No WebSockets: a connection that changes its protocol would leave its bounds."""
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
    protocol = bounded(settings.max_connections, Patience())
    server = uvicorn.Server(server_config(app, protocol, settings.shutdown_timeout))
    keep_all_that_is()
    log.info("serving", host=settings.host, port=settings.port)
    with monitored(settings.debug_event_loop):
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await serving
