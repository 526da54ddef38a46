"""Traces of events (OpenTelemetry): a request to the API, the run of each of its events, and the attempts of the run.

The context travels with the event, as the text of the header `traceparent` (W3C Trace Context), because several events
can share a request or a run. Without an exporter, no span is recorded, and an event's context is passed on.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hookkeeper.messages.outcomes import NOT_MADE, Outcome
from hookkeeper.messages.run_report import RunReport
from hookkeeper.version import VERSION

HEADER = "traceparent"
TRACER = trace.get_tracer("hookkeeper", VERSION)
_PROPAGATOR = TraceContextTextMapPropagator()
_given_id: ContextVar[int | None] = ContextVar("span_id", default=None)
Attributes = Mapping[str, str | int]


def current() -> str | None:
    """Return the context of the current span, as a header has it; None without a span."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(HEADER)


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace's id for logs."""
    return traceparent.split("-")[1] if traceparent else None


@contextmanager
def of_client(traceparent: str | None) -> Iterator[None]:
    """Make the context that a client has sent the current one."""
    token = attach(_context(traceparent))
    try:
        yield
    finally:
        detach(token)


def of_new_event(tenant: str, event_id: str, event_type: str) -> str | None:
    """Trace the acceptance of an event; return the context in which it is delivered."""
    attributes = _attributes(tenant, event_id) | {"hookkeeper.event_type": event_type}
    with TRACER.start_as_current_span("accept event", attributes=attributes):
        return current()


def end_run(report: RunReport) -> None:
    """Trace the run of an event, from its acceptance to its end, if the report is about its end."""
    event = report.event
    if report.traceparent is None or event.finished_at is None:
        return
    attributes = _attributes(*event.name) | {"hookkeeper.run_id": event.run_id, "hookkeeper.status": event.status}
    run = _of_run(report.traceparent, event.run_id)
    token = _given_id.set(run.span_id)
    try:
        span = TRACER.start_span(
            "run", _context(report.traceparent), attributes=attributes, start_time=_nanoseconds(event.accepted_at)
        )
    finally:
        _given_id.reset(token)
    if event.status == "failed":
        span.set_status(Status(StatusCode.ERROR))
    span.end(_nanoseconds(event.finished_at))


@contextmanager
def attempt(traceparent: str, run_id: str | None, attributes: Attributes) -> Iterator[Callable[[Outcome], None]]:
    """Trace an attempt. Yields a function, which the block calls with the outcome.

    `run_id`: that of the event's own run; None in a shared run.
    """
    parent = _of_run(traceparent, run_id) if run_id and _is_exported() else _of_event(traceparent)
    context = trace.set_span_in_context(NonRecordingSpan(parent), Context())
    with TRACER.start_as_current_span("attempt", context, kind=SpanKind.CLIENT, attributes=attributes) as span:
        yield lambda outcome: _record(span, outcome)


def _record(span: Span, outcome: Outcome) -> None:
    span.set_attribute("hookkeeper.verdict", outcome.verdict)
    if outcome.status_code is not None:
        span.set_attribute("http.response.status_code", outcome.status_code)
    if outcome.error is not None:
        span.set_attribute("error.type", outcome.error)
    if outcome.verdict not in (*NOT_MADE, "succeeded"):
        span.set_status(Status(StatusCode.ERROR, outcome.error))


def _attributes(tenant: str, event_id: str) -> dict[str, str | int]:
    return {"hookkeeper.tenant": tenant, "hookkeeper.event_id": event_id}


def _context(traceparent: str | None) -> Context:
    """Return the context of a header; an empty one without it, or if it is invalid."""
    return _PROPAGATOR.extract({HEADER: traceparent} if traceparent else {}, Context())


def _of_event(traceparent: str) -> SpanContext:
    return trace.get_current_span(_context(traceparent)).get_span_context()


def _of_run(traceparent: str, run_id: str) -> SpanContext:
    """Return the context of a run's span.

    Its id follows from the event's context and the run: the attempts are traced long before the run has ended, and by
    other processes.
    """
    event = _of_event(traceparent)
    span_id = hashlib.sha256(f"{traceparent} {run_id}".encode()).digest()[:8]
    return SpanContext(event.trace_id, int.from_bytes(span_id), is_remote=True, trace_flags=event.trace_flags)


def _is_exported() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def given_span_id() -> int | None:
    """Return the id that the next span must have."""
    return _given_id.get()


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e9)
