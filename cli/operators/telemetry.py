"""What a process tells about itself: its metrics and its health at an address of its own, without a key, and traces."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import structlog
from aiohttp import web
from opentelemetry import trace
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry
from temporalio.runtime import Runtime

from cli.console import InvalidSettings
from cli.ports import listen
from hookkeeper import metrics
from hookkeeper.temporal.server.sdk_runtime import LogFormat, open_sdk_metrics
from hookkeeper.tracing import given_span_id
from hookkeeper.version import VERSION

SDK_TIMEOUT = aiohttp.ClientTimeout(total=2.0)
log = structlog.get_logger("hookkeeper.metrics")
ReadState = Callable[[], Awaitable[Sequence[CollectorRegistry]]]
"""Reads what a process shows besides what it has counted."""
Health = tuple[bool, dict[str, str | None]]
"""Whether the process is well, and what is known of it."""
ReadHealth = Callable[[], Awaitable[Health]]


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
    async def serving(
        self, read_state: ReadState | None = None, read_health: ReadHealth | None = None
    ) -> AsyncIterator[None]:
        """Serve until the block ends."""

        async def show(_: web.Request) -> web.Response:
            async with self._one_at_a_time:
                state = await read_state() if read_state else ()
                own = metrics.exposition(metrics.PROCESS, *state)
                sdk_metrics = await _read(http, self._sdk.url)
            return web.Response(body=own + sdk_metrics, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

        async def show_health(_: web.Request) -> web.Response:
            is_well, known = await read_health() if read_health else (True, {"status": "ok"})
            return web.json_response({**known, "version": VERSION}, status=200 if is_well else 503)

        app = web.Application()
        app.router.add_get("/healthz", show_health)
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


def exporting_traces(endpoint: str, process: str) -> AbstractAsyncContextManager[None]:
    """Export to an OpenTelemetry collector until the block ends. The SDK's own variables, `OTEL_…`, apply.

    Raises `InvalidSettings` without the packages of the extra `otel`.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            "HOOKKEEPER_OTLP_ENDPOINT needs more packages: pip install '.[otel]' in the folder of Hookkeeper"
        ) from error

    class SpanIds(RandomIdGenerator):
        """Random ids, except for spans whose id is known before they are made."""

        def generate_span_id(self) -> int:
            return given_span_id() or super().generate_span_id()

    @asynccontextmanager
    async def exporting() -> AsyncIterator[None]:
        trace.set_tracer_provider(provider)
        try:
            yield
        finally:
            await asyncio.to_thread(provider.shutdown)  # it exports the rest

    resource = Resource.create({SERVICE_NAME: f"hookkeeper-{process}", SERVICE_VERSION: VERSION})
    provider = TracerProvider(resource=resource, id_generator=SpanIds())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    return exporting()
