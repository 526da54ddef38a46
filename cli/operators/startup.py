"""What a process begins with: its settings and its connection to Temporal. Errors are sentences for operators."""

import difflib
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import ValidationError

from cli import console
from cli.console import Failed, InvalidSettings
from hookkeeper.settings import Settings

if TYPE_CHECKING:
    from temporalio.client import Client
    from temporalio.runtime import Runtime

    from cli.operators.telemetry import MetricsServer, ReadHealth, ReadState
    from hookkeeper.crypto.keyring import Keyring
    from hookkeeper.registry.store import Store
    from hookkeeper.temporal.server.connection import LateClient

PREFIX = "HOOKKEEPER_"
SETTINGS = tuple(name.upper() for name in Settings.model_fields)
OTHERS = frozenset({"URL", "API_KEY", "SECRET", "VERSION"})
"""Read by the command line, the examples, and the compose file."""
CONNECT_TIMEOUT = 60.0
"""Seconds to wait for Temporal."""


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
    except OSError as error:  # a file of a secret
        raise InvalidSettings(f"invalid settings: {error.filename} cannot be read: {error.strerror}") from error


def cell_map_path(settings: Settings) -> Path:
    """Return the file of the map of cells. Raises `InvalidSettings`."""
    if settings.cell_map is None:
        raise InvalidSettings("HOOKKEEPER_CELL_MAP is not set")
    return settings.cell_map


def begin() -> Settings:
    """Read the settings, configure logs, and warn of names that are no settings. Raises `InvalidSettings`."""
    import structlog  # `dev` reads settings, but logs nothing

    from hookkeeper import logs

    if {**dotenv_values(".env"), **os.environ}.get(f"{PREFIX}LOG_FORMAT") == "json":
        logs.configure("json")  # before an invalid setting is reported
        console.report_failures_with(_log_failure)
    settings = read_settings()
    logs.configure(settings.log_format)
    for sentence in unknown_settings():
        structlog.get_logger("hookkeeper.settings").warning("unknown setting", detail=sentence)
    return settings


def _log_failure(failure: Failed) -> None:
    import structlog

    structlog.get_logger("hookkeeper").critical("failed", detail=str(failure), exit_code=failure.exit_code)


def unknown_settings() -> list[str]:
    """Return a sentence for each name in the environment and in `.env` that is unknown."""
    return describe_unknown([*os.environ, *dotenv_values(".env")])


def describe_unknown(names: Iterable[str]) -> list[str]:
    """Return a sentence for each of these names that begins with the prefix and is unknown."""
    given = sorted({name.upper() for name in names if name.upper().startswith(PREFIX)})
    known = OTHERS.union(SETTINGS)
    return [_sentence(name.removeprefix(PREFIX)) for name in given if name.removeprefix(PREFIX) not in known]


def _sentence(name: str) -> str:
    similar = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.75)
    hint = f": did you mean {PREFIX}{similar[0]}?" if similar else ""
    return f"{PREFIX}{name} is not a setting{hint}"


async def connect(
    settings: Settings,
    keyring: "Keyring | None" = None,
    runtime: "Runtime | None" = None,
    address: str | None = None,
    timeout: float = CONNECT_TIMEOUT,
) -> "Client":
    """Connect with the settings in `TEMPORAL_…`; wait at most `timeout` seconds for the server. Raises `Failed`.

    `address`: that of a server on this machine, in place of these settings.
    """
    client = open_client(settings, keyring, runtime, address)
    await until_connected(client, timeout)
    return client


def open_client(
    settings: Settings,
    keyring: "Keyring | None" = None,
    runtime: "Runtime | None" = None,
    address: str | None = None,
) -> "LateClient":
    """Make a client that is connected later. Raises `InvalidSettings`."""
    from hookkeeper.temporal.server.connection import LateClient  # `dev` reads settings before it needs a client
    from hookkeeper.temporal.server.sdk_runtime import sdk_runtime

    with _settings_named():
        return LateClient(keyring, runtime or sdk_runtime(settings.log_format), address)


async def until_connected(client: "LateClient", timeout: float | None = None) -> None:
    """Connect; wait at most `timeout` seconds for the server, by default forever. Raises `Failed`."""
    from hookkeeper.temporal.server.connection import TemporalUnreachable

    try:
        with _settings_named():
            await client.until_connected(timeout)
    except TemporalUnreachable as error:
        raise Failed(str(error)) from error


@contextmanager
def _settings_named() -> Iterator[None]:
    """Raise `InvalidSettings` for settings such as an invalid address, or a certificate that cannot be read."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        raise InvalidSettings(f"invalid settings of Temporal (TEMPORAL_…): {error}") from error


async def report_missing(*checks: Callable[[], Awaitable[None]]) -> None:
    """Log what the registry or the namespace lacks, with the command that fixes it. The process continues."""
    import structlog

    from hookkeeper.registry.storage.database import RegistryUnavailable
    from hookkeeper.temporal.server.error_translation import Unavailable

    for check in checks:
        try:
            await check()
        except (RegistryUnavailable, Unavailable) as error:
            structlog.get_logger("hookkeeper.startup").error("not ready", detail=str(error))


class NoMetrics:
    """Serves no metrics."""

    runtime: "Runtime | None" = None

    def serving(
        self, read_state: "ReadState | None" = None, read_health: "ReadHealth | None" = None
    ) -> AbstractAsyncContextManager[None]:
        """Do nothing."""
        return nullcontext()


def open_metrics(settings: Settings) -> "MetricsServer | NoMetrics":
    """Listen for readers of metrics at this address, if there is one. Raises `Failed`."""
    if settings.metrics_address is None:
        return NoMetrics()
    from cli.operators.telemetry import MetricsServer  # with an HTTP server
    from hookkeeper import metrics
    from hookkeeper.version import VERSION

    metrics.BUILD.labels(VERSION, settings.deployment_version or "").set(1)
    parts = urlsplit(f"//{settings.metrics_address}")
    return MetricsServer(parts.hostname or "", parts.port or 0, settings.log_format)


def show_resources(settings: Settings, store: "Store", client: "Client") -> None:
    """Let the metrics show connections to the registry, and when certificates end.

    A certificate that cannot be read is left out: what needs it reports that.
    """
    from hookkeeper import metrics
    from hookkeeper.egress.certificates import certificates_in_files
    from hookkeeper.temporal.server.connection import certificates_in

    metrics.DATABASE_CONNECTIONS_MAX.set(settings.database_connections)
    metrics.DATABASE_CONNECTIONS_USED.set_function(store.connections_in_use)
    for certificates in (*certificates_in_files(), *certificates_in(client.service_client.config.tls)):
        with suppress(OSError, ValueError):
            metrics.CERTIFICATE_EXPIRES.labels(certificates.setting).set(certificates.end().timestamp())


def exporting_traces(endpoint: str | None, process: str) -> AbstractAsyncContextManager[None]:
    """Export traces of the process until the block ends, if there is a collector. Raises `InvalidSettings`."""
    if endpoint is None:
        return nullcontext()
    from cli.operators.telemetry import exporting_traces

    return exporting_traces(endpoint, process)
