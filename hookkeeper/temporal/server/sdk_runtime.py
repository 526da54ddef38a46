"""The runtime of Temporal's SDK. It writes log lines of its own, for example while Temporal is away, and serves its
metrics itself, so they cost no Python; a process adds them to its own.
"""

import logging
import socket
from dataclasses import dataclass
from typing import Literal

from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

LOOPBACK = "127.0.0.1"
MAX_TRIES = 5
SDK_LOGGER = logging.getLogger("temporalio.core")
LogFormat = Literal["console", "json"]
"""As in `HOOKKEEPER_LOG_FORMAT`."""


@dataclass(frozen=True, slots=True)
class SdkMetrics:
    runtime: Runtime
    """For the client of the process."""
    url: str
    """Where the SDK serves its metrics, in Prometheus' text format."""


def sdk_runtime(log_format: LogFormat, metrics: PrometheusConfig | None = None) -> Runtime:
    """Make a runtime. If the lines of the process are JSON, its lines go through `logging` and look the same.

    Raises ValueError or RuntimeError for a port in use.
    """
    levels = TelemetryFilter(core_level="WARN", other_level="ERROR")  # the SDK's default
    forwarding = LogForwardingConfig(SDK_LOGGER, append_target_to_name=False, prepend_target_on_message=False)
    config = LoggingConfig(filter=levels, forwarding=forwarding if log_format == "json" else None)
    return Runtime(telemetry=TelemetryConfig(logging=config, metrics=metrics, attach_service_name=False))


def open_sdk_metrics(log_format: LogFormat) -> SdkMetrics:
    """Let the SDK count, and serve its metrics on a free port of the loopback address. Raises RuntimeError."""
    for tries_left in reversed(range(MAX_TRIES)):
        address = f"{LOOPBACK}:{_free_port()}"
        config = PrometheusConfig(
            bind_address=address, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True
        )
        try:
            return SdkMetrics(sdk_runtime(log_format, config), f"http://{address}/metrics")
        except (ValueError, RuntimeError):  # another process was faster to take the port
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
