"""The runtime of Temporal's SDK. It writes log lines of its own, for example while Temporal is away."""

from typing import Literal

from temporalio.runtime import LoggingConfig, LoggingFormat, PrometheusConfig, Runtime, TelemetryConfig, TelemetryFilter

LogFormat = Literal["console", "json"]
"""As in `HOOKKEEPER_LOG_FORMAT`."""


def sdk_runtime(log_format: LogFormat, metrics: PrometheusConfig | None = None) -> Runtime:
    """Make a runtime. Its lines are JSON if those of the process are. Raises ValueError or RuntimeError for a port in
    use.
    """
    levels = TelemetryFilter(core_level="WARN", other_level="ERROR")  # the SDK's default
    logging = LoggingConfig(filter=levels, format=LoggingFormat.JSON if log_format == "json" else None)
    return Runtime(telemetry=TelemetryConfig(logging=logging, metrics=metrics, attach_service_name=False))
