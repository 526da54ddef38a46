"""Serve the metrics of a process at `GET /metrics` of an address of its own, without a key."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import aiohttp
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry
from temporalio.runtime import Runtime

from hookkeeper import metrics
from hookkeeper.cli.listeners import listen
from hookkeeper.temporal.sdk_runtime import LogFormat, open_sdk_metrics

SDK_TIMEOUT = aiohttp.ClientTimeout(total=2.0)
log = structlog.get_logger("hookkeeper.metrics")
ReadState = Callable[[], Awaitable[Sequence[CollectorRegistry]]]
"""Reads what a process shows besides what it has counted."""


class MetricsServer:
    """Serves the metrics of the process and those of Temporal's SDK in one text."""

    def __init__(self, host: str, port: int, log_format: LogFormat) -> None:
        """Listen, and let the SDK count. Raises `Failed`."""
        self._listener = listen(host, port)
        self._sdk = open_sdk_metrics(log_format)
        self._one_at_a_time = asyncio.Lock()
        self.runtime: Runtime | None = self._sdk.runtime
        """The SDK's runtime, for the client of the process."""

    @asynccontextmanager
    async def serving(self, read_state: ReadState | None = None) -> AsyncIterator[None]:
        """Serve until the block ends."""

        async def show(_: web.Request) -> web.Response:
            async with self._one_at_a_time:
                state = await read_state() if read_state else ()
                own = metrics.exposition(metrics.PROCESS, *state)
                of_sdk = await _read(http, self._sdk.url)
            return web.Response(body=own + of_sdk, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

        app = web.Application()
        app.router.add_get("/metrics", show)
        runner = web.AppRunner(app, access_log=None)
        async with aiohttp.ClientSession(timeout=SDK_TIMEOUT) as http:
            await runner.setup()
            try:
                await web.SockSite(runner, self._listener).start()
                host, port = self._listener.getsockname()[:2]
                log.info("serving metrics", host=host, port=port)
                yield
            finally:
                await runner.cleanup()


async def _read(http: aiohttp.ClientSession, url: str) -> bytes:
    """Return the metrics of Temporal's SDK; nothing if it does not answer."""
    try:
        async with http.get(url) as answer:
            return (await answer.read()).lstrip()
    except (aiohttp.ClientError, TimeoutError) as error:
        log.warning("metrics of Temporal's SDK not read", error=str(error))
        return b""
