"""`hookkeeper api`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
import uvicorn
from fastapi import FastAPI
from temporalio.client import Client

from api.app import create_app
from api.server.connections import MAX_CONNECTIONS, BoundedProtocol, ClientTimeouts, bounded
from api.server.refusals import answering_cancelled
from api.state import ApiState
from hookkeeper.cli.console import InvalidSettings
from hookkeeper.cli.ports import listen
from hookkeeper.cli.processes import ShutdownDeadline, freeze_objects, run, to_log, until_stopped
from hookkeeper.cli.startup import NoMetrics, begin, connect, exporting_traces, open_metrics, report_missing
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.events.gateway import Gateway
from hookkeeper.temporal.server.readiness import Readiness

if TYPE_CHECKING:
    from hookkeeper.cli.telemetry import MetricsServer

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
    deadline = ShutdownDeadline(min(settings.shutdown_timeout, REQUEST_GRACE), to_log())
    keyring = settings.keyring
    async with Store.connect(settings.database_url, keyring) as store:
        try:
            async with until_stopped(deadline=deadline):
                traces = exporting_traces(settings.otlp_endpoint, "api")
                metrics = open_metrics(settings)
                client = await connect(settings, keyring, metrics.runtime)
                listener = listen(settings.host, settings.port)
                await report_missing(store, Readiness(client, settings.task_queue))
                async with traces, serving(client, store, settings, metrics, listener) as server:
                    freeze_objects()
                    await server
        finally:
            deadline.begin()


@asynccontextmanager
async def serving(
    client: Client,
    store: Store,
    settings: Settings,
    metrics: "MetricsServer | NoMetrics",
    listener: socket.socket,
) -> AsyncIterator[asyncio.Future[None]]:
    """Serve the API and the metrics until the block ends; yield what ends with the server."""
    app = create_app(settings, store, Gateway(client, settings.task_queue, store.rows))
    state: ApiState = app.state.api
    protocol = bounded(MAX_CONNECTIONS, ClientTimeouts())
    config = server_config(app, protocol, settings.shutdown_timeout, settings.trusted_proxies)
    server = ApiServer(config, protocol, state.feed.close)
    async with metrics.serving(state.system.registries):
        log.info("serving", host=settings.host, port=settings.port)
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield asyncio.shield(task)
        finally:
            server.should_exit = True
            await task


def server_config(
    app: FastAPI,
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
