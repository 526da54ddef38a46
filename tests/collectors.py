"""An OpenTelemetry collector that keeps what it gets (OTLP over HTTP)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from timeouts import WAIT_TIMEOUT


@dataclass(frozen=True)
class CollectedSpan:
    service: str
    span: Span

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def attributes(self) -> dict[str, str | int]:
        return {
            each.key: each.value.int_value if each.value.HasField("int_value") else each.value.string_value
            for each in self.span.attributes
        }


@dataclass
class Collector:
    port: int = 0
    spans: list[CollectedSpan] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, trace_id: str, number: int) -> list[CollectedSpan]:
        """Wait until a trace has this many spans; return them by the time of their begin."""
        async with asyncio.timeout(WAIT_TIMEOUT):
            while len(found := [span for span in self.spans if span.span.trace_id.hex() == trace_id]) < number:
                await asyncio.sleep(0.05)
        return sorted(found, key=lambda span: span.span.start_time_unix_nano)

    async def collect(self, request: web.Request) -> web.Response:
        exported = ExportTraceServiceRequest.FromString(await request.read())
        for of_resource in exported.resource_spans:
            names = {each.key: each.value.string_value for each in of_resource.resource.attributes}
            for of_scope in of_resource.scope_spans:
                self.spans += [CollectedSpan(names["service.name"], span) for span in of_scope.spans]
        return web.Response()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.collect)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.port = runner.addresses[0][1]
    try:
        yield collector
    finally:
        await runner.cleanup()
