"""Logging in one format for Hookkeeper, Temporal, uvicorn and SQLAlchemy, as text or JSON."""

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal

import structlog
from opentelemetry import trace
from opentelemetry.trace import format_trace_id

QUOTED = frozenset(" \t=\r\n\"'")
"""Text with one of these characters is quoted."""


class _Logger(structlog.WriteLogger):
    """Writes our own lines. Through `logging`, a line of an attempt took half as much CPU again.

    A line that cannot be written, as on a full disk, is dropped: what is logged has happened all the same.
    """

    def __init__(self, name: str) -> None:
        super().__init__(sys.stderr)
        self.name = name

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    debug = info = warning = error = critical = exception = msg


def _add_trace_id(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Name the trace that the line belongs to."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", format_trace_id(context.trace_id))
    return event


def _text(value: object) -> str:
    """Return a value as structlog's console shows it: text is quoted if it could be taken for something else."""
    return value if isinstance(value, str) and QUOTED.isdisjoint(value) else repr(value)


PLAIN_COLUMNS = [
    structlog.dev.Column("timestamp", lambda _, time: _text(time)),
    structlog.dev.Column("level", lambda _, level: f"[{level:<9}]"),
    structlog.dev.Column("event", lambda _, event: f"{event!s:<30}"),
    structlog.dev.Column("logger", lambda _, logger: f"[{logger}]"),
    structlog.dev.Column("", lambda key, value: f"{key}={_text(value)}"),
]
"""The columns of structlog's console without colours. Its own take three times as long, a twentieth of a delivery."""


def _console(*, is_terminal: bool) -> structlog.dev.ConsoleRenderer:
    """Return what renders lines as text. Tracebacks are plain: rich ones show local variables, and so secrets."""
    return structlog.dev.ConsoleRenderer(
        columns=None if is_terminal else PLAIN_COLUMNS, exception_formatter=structlog.dev.plain_traceback
    )


def _log_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what ends the process."""
    structlog.get_logger("hookkeeper").critical("unhandled error", exc_info=(kind, error, trace))


def configure(style: Literal["console", "json"]) -> None:
    """Log to standard error in one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace_id,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if style == "json"
        else [_console(is_terminal=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_Logger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    if style == "json":
        sys.excepthook = _log_error
    for chatty in ("httpx", "temporalio", "uvicorn.access", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
