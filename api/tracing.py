"""Traces of requests. FastAPI makes their spans, as parts of the client's trace, if a process exports traces."""

from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Receive, Scope, Send

from hookkeeper import tracing

HEADER = tracing.HEADER.encode()
UNTRACED = ("/healthz", "/readyz", "/portal/")
"""Paths of no interest, and those with the token of a link."""

TELEMETRY: TelemetryConfig = {
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
    "exclude": lambda scope: scope["path"].startswith(UNTRACED),
}


class PassedContext:
    """Middleware for processes that export no traces: the client's context is passed on with the event."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = [value for name, value in scope.get("headers", ()) if name == HEADER]
        with tracing.of_client(given[0].decode("latin-1") if given else None):
            await self._app(scope, receive, send)
