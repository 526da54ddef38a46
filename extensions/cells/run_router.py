"""`hookkeeper router`."""

import asyncio
from pathlib import Path

import httpx
import structlog

from api.server.connections import MAX_CONNECTIONS, ClientTimeouts, bounded
from cli.console import InvalidSettings
from cli.operators.run_api import REQUEST_GRACE, ApiServer, running_server, server_config
from cli.operators.startup import begin, cell_map_path, open_metrics
from cli.ports import listen
from cli.processes import ShutdownDeadline, freeze_objects, run, to_log, until_stopped
from extensions.cells.cell_map import BadCellMap
from extensions.cells.router import TIMEOUT, Cells, create_router
from hookkeeper.settings import Settings

KEPT_ALIVE = 4.0
"""Seconds for which a connection that is not in use is kept: less than the five of the API."""
log = structlog.get_logger("hookkeeper.router")


def run_router() -> None:
    """Pass requests on to cells until stopped, then finish those in progress."""
    settings = begin()
    if settings.admin_key is None:
        raise InvalidSettings("HOOKKEEPER_ADMIN_KEY is not set: it has to be that of all cells")
    run(_serve(settings, cell_map_path(settings), settings.admin_key.get_secret_value()))


async def _serve(settings: Settings, path: Path, admin_key: str) -> None:
    grace = min(settings.shutdown_timeout, REQUEST_GRACE) + settings.shutdown_delay
    deadline, stopping = ShutdownDeadline(grace, to_log()), asyncio.Event()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEPT_ALIVE)
    async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False) as http:
        try:
            app = create_router(Cells(path, http), admin_key, stopping)
        except BadCellMap as error:
            raise InvalidSettings(str(error)) from error
        protocol = bounded(MAX_CONNECTIONS, ClientTimeouts())
        config = server_config(app, protocol, settings.shutdown_timeout, settings.trusted_proxies)
        server = ApiServer(config, protocol, stopping.set)
        listener = listen(settings.host, settings.port)
        try:
            async with (
                until_stopped(stopping.set, deadline, settings.shutdown_delay),
                open_metrics(settings).serving(),
            ):
                freeze_objects()
                log.info("serving", host=settings.host, port=settings.port)
                async with running_server(server, listener) as ended:
                    await ended
        finally:
            deadline.begin()
