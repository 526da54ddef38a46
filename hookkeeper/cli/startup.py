"""What a process begins with: its settings and its connection to Temporal. Errors are sentences for operators."""

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import ValidationError

from hookkeeper.cli.console import Failed, InvalidSettings
from hookkeeper.cli.unknown_settings import unknown_settings
from hookkeeper.settings import Settings

if TYPE_CHECKING:
    from temporalio.client import Client
    from temporalio.runtime import Runtime

    from hookkeeper.cli.metrics_server import MetricsServer, ReadState
    from hookkeeper.crypto.keyring import Keyring


def read_settings() -> Settings:
    """Read `HOOKKEEPER_…` and `.env`. Raises `InvalidSettings`, naming each of them."""
    try:
        return Settings()
    except ValidationError as invalid:
        lines = (
            f"\n  HOOKKEEPER_{str(error['loc'][0]).upper()}: {error['msg'].removeprefix('Value error, ')}"
            for error in invalid.errors()
        )
        raise InvalidSettings("invalid settings:" + "".join(lines)) from invalid


def begin() -> Settings:
    """Read the settings, configure logs, and warn of names that are no settings. Raises `InvalidSettings`."""
    import structlog  # `dev` reads settings, but logs nothing

    from hookkeeper import logs

    settings = read_settings()
    logs.configure(settings.log_format)
    for sentence in unknown_settings():
        structlog.get_logger("hookkeeper.settings").warning("unknown setting", detail=sentence)
    return settings


async def connect(settings: Settings, keyring: "Keyring | None" = None, runtime: "Runtime | None" = None) -> "Client":
    """Connect with the settings in `TEMPORAL_…`, waiting up to a minute for the server. Raises `Failed`."""
    from hookkeeper.temporal import connection  # `dev` reads settings before it needs a client
    from hookkeeper.temporal.sdk_metrics import sdk_runtime

    try:
        return await connection.connect(keyring, runtime=runtime or sdk_runtime(settings.log_format))
    except connection.TemporalUnreachable as error:
        raise Failed(str(error)) from error
    except (RuntimeError, OSError, ValueError) as error:  # such as a certificate that cannot be read, or the address
        raise InvalidSettings(f"invalid settings of Temporal (TEMPORAL_…): {error}") from error


class NoMetrics:
    """Serves no metrics."""

    runtime: "Runtime | None" = None

    def serving(self, read_state: "ReadState | None" = None) -> AbstractAsyncContextManager[None]:
        """Do nothing."""
        return nullcontext()


def open_metrics(settings: Settings) -> "MetricsServer | NoMetrics":
    """Listen for readers of metrics at this address, if there is one. Raises `Failed`."""
    if settings.metrics_address is None:
        return NoMetrics()
    from hookkeeper.cli.metrics_server import MetricsServer  # with an HTTP server

    parts = urlsplit(f"//{settings.metrics_address}")
    return MetricsServer(parts.hostname or "", parts.port or 0, settings.log_format)


def exporting_traces(endpoint: str | None, process: str) -> AbstractAsyncContextManager[None]:
    """Export traces of the process until the block ends, if there is a collector. Raises `Failed`."""
    if endpoint is None:
        return nullcontext()
    try:
        from hookkeeper.cli.trace_export import exporting_traces
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            "HOOKKEEPER_OTLP_ENDPOINT needs more packages: pip install '.[otel]' in the folder of Hookkeeper"
        ) from error
    return exporting_traces(endpoint, process)
