"""Export traces to an OpenTelemetry collector. Needs the extra `otel`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from hookkeeper.tracing import given_span_id
from hookkeeper.version import VERSION


class _SpanIds(RandomIdGenerator):
    """Random ids, except for spans whose id is known before they are made."""

    def generate_span_id(self) -> int:
        return given_span_id() or super().generate_span_id()


@asynccontextmanager
async def exporting_traces(endpoint: str, process: str) -> AsyncIterator[None]:
    """Export until the block ends, and then the rest. The SDK's own variables, `OTEL_…`, apply."""
    resource = Resource.create({SERVICE_NAME: f"hookkeeper-{process}", SERVICE_VERSION: VERSION})
    provider = TracerProvider(resource=resource, id_generator=_SpanIds())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        await asyncio.to_thread(provider.shutdown)
