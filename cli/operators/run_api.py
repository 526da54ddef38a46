"""`hookkeeper api`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
import uvicorn
from starlette.types import ASGIApp

from api.app import create_app
from api.server.connections import MAX_CONNECTIONS, BoundedProtocol, ClientTimeouts, bounded
from api.server.refusals import answering_cancelled
from api.state import ApiState
from cli.console import InvalidSettings
from cli.operators.startup import (
    NoMetrics,
    begin,
    exporting_traces,
    open_client,
    open_metrics,
    report_missing,
    show_resources,
    until_connected,
)
from cli.ports import listen
from cli.processes import ShutdownDeadline, freeze_objects, run, to_log, until_stopped
from hookkeeper.asyncio_tasks import stop
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.server.connection import LateClient

if TYPE_CHECKING:
    from cli.operators.telemetry import MetricsServer

log = structlog.get_logger("hookkeeper.api")
REQUEST_GRACE = timedelta(seconds=10)
"""Maximum time in which a stopping API finishes requests."""


def run_api() -> None:
    """Serve until stopped, then finish the requests in progress."""
    settings = begin()
    if settings.admin_key is None:
        raise InvalidSettings("HOOKKEEPER_ADMIN_KEY is not set")
    run(_serve(settings))


async def _serve(settings: Settings) -> None:
    grace = min(settings.shutdown_timeout, REQUEST_GRACE) + settings.shutdown_delay
    deadline, stopping, keyring = ShutdownDeadline(grace, to_log()), asyncio.Event(), settings.keyring
    async with Store.connect(settings.database_url, keyring, settings.database_connections) as store:
        try:
            async with until_stopped(stopping.set, deadline, settings.shutdown_delay):
                traces = exporting_traces(settings.otlp_endpoint, "api")
                metrics = open_metrics(settings)
                listener = listen(settings.host, settings.port)
                client = open_client(settings, keyring, metrics.runtime)
                show_resources(settings, store, client)
                gateway = Gateway(client, settings.task_queue, store.rows)
                async with traces, serving(gateway, store, settings, metrics, listener, stopping) as server:
                    freeze_objects()
                    await _until_ended(server, _connect(client, store, gateway))
        finally:
            deadline.begin()


async def _connect(client: LateClient, store: Store, gateway: Gateway) -> None:
    """Connect to Temporal. Until then, requests that need it get a 503."""
    await report_missing(store.ready)
    await until_connected(client)
    await report_missing(gateway.readiness.check_namespace)


async def _until_ended(server: asyncio.Future[None], connecting: Coroutine[None, None, None]) -> None:
    """Wait until the server has ended. Raises `Failed` if no connection is possible."""
    task = asyncio.create_task(connecting)
    try:
        await asyncio.wait([server, task], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        await server
    finally:
        await stop(task)


@asynccontextmanager
async def serving(
    gateway: Gateway,
    store: Store,
    settings: Settings,
    metrics: "MetricsServer | NoMetrics",
    listener: socket.socket,
    stopping: asyncio.Event | None = None,
) -> AsyncIterator[asyncio.Future[None]]:
    """Serve the API and the metrics until the block ends; yield what ends with the server.

    `stopping`: set when the process is about to stop, so it is no longer ready.
    """
    app = create_app(settings, store, gateway)
    state: ApiState = app.state.api
    state.stopping = stopping or state.stopping
    protocol = bounded(MAX_CONNECTIONS, ClientTimeouts())
    config = server_config(app, protocol, settings.shutdown_timeout, settings.trusted_proxies)
    server = ApiServer(config, protocol, state.end_streams)
    async with metrics.serving(state.system.registries):
        log.info("serving", host=settings.host, port=settings.port)
        async with running_server(server, listener) as ended:
            yield ended


@asynccontextmanager
async def running_server(server: uvicorn.Server, listener: socket.socket) -> AsyncIterator[asyncio.Future[None]]:
    """Serve until the block ends; yield what ends with the server."""
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield asyncio.shield(task)
    finally:
        server.should_exit = True
        await task


def server_config(
    app: ASGIApp,
    protocol: type[BoundedProtocol],
    shutdown_timeout: timedelta = REQUEST_GRACE,
    trusted_proxies: Sequence[str] = (),
) -> uvicorn.Config:
    """Configure uvicorn. WebSockets are off: a connection that changes its protocol would escape its limits."""
    return uvicorn.Config(
        answering_cancelled(app),
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_graceful_shutdown=int(min(shutdown_timeout, REQUEST_GRACE).total_seconds()),
    )


class ApiServer(uvicorn.Server):
    """Serves the app. A server that stops waits for answers in progress, so it ends streams first."""

    def __init__(
        self, config: uvicorn.Config, protocol: type[BoundedProtocol], end_streams: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._protocol = protocol
        self._end_streams = end_streams

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `until_stopped`."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop within the grace period of the configuration."""
        self._protocol.stopping = True
        self._end_streams()
        await super().shutdown(sockets)
