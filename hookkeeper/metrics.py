"""The metrics of a process. docs/metrics.md is their contract: a test holds the two together.

Labels have few values, all known here. None is a tenant, an event, a webhook or a URL: a tenant could make any number
of those.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from time import perf_counter
from typing import Any, Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from hookkeeper.content.context import AlertKind
from hookkeeper.kinds import KINDS
from hookkeeper.messages.outcomes import NOT_MADE, Verdict
from hookkeeper.policy import HealthStatus

Limit = Literal[
    "rate",  # of a key or an address
    "tenant_requests",
    "connections",  # of an API process
    "unread_answers",  # of an API process
    "streams",  # of a tenant in an API process
    "forwards",  # of a tenant in an API process
    "posts",  # of events to an API process
    "backlog",
    "not_started",  # events that wait for Temporal
    "schema_cost",
    "webhooks",  # of a tenant
    "portal_sessions",  # of a tenant
    "exports",  # of a tenant at once
    "suppressions",  # of a tenant
    "schedules",  # of a tenant
    "tenant_activities",
    "memory",  # of a tenant in a worker
    "lookups_and_handshakes",  # of a tenant in a worker
]
"""What can refuse an operation."""
Source = Literal["registry", "temporal"]
"""What the state of the installation is read from."""

CHANNELS = tuple(KINDS)
ALERT_KINDS: tuple[AlertKind, ...] = get_args(AlertKind)
ALERT_VERDICTS = sorted({*get_args(Verdict)} - NOT_MADE)
LIMITS: tuple[Limit, ...] = get_args(Limit)
SOURCES: tuple[Source, ...] = get_args(Source)
REFUSALS = (
    *("malformed", "unauthorized", "forbidden", "request-timeout", "conflict", "gone", "not-known", "too-large"),
    *("not-json", "invalid", "too-many-requests", "unavailable", "internal", "other"),
)
"""The kinds of `api.problems` that a posted event can get."""
ERRORS = (
    *("none", "timeout", "dns", "connection_refused", "connection_reset", "tls", "protocol", "forbidden_address"),
    *("http_4xx", "http_5xx", "smtp_4xx", "smtp_5xx", "bad_template", "suppressed", "other"),
)
"""Classes of the errors of outcomes."""
DISABLED_REASONS = ("failing", "gone")
WEBHOOK_STATES: tuple[HealthStatus, ...] = get_args(HealthStatus)

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
DELAY_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0, 259_200.0)

disable_created_metrics()  # type: ignore[no-untyped-call]

PROCESS = CollectorRegistry()
"""What this process has done."""
ProcessCollector(registry=PROCESS)

BUILD = Gauge(
    "hookkeeper_build",
    "1, with the versions of the code and of the deployment",
    ["version", "deployment_version"],
    registry=PROCESS,
)
ROUTED = Counter(
    "hookkeeper_routed_requests",
    "Requests that a router has passed on, by the cell and the class of its answer",
    ["cell", "status"],
    registry=PROCESS,
)
EVENTS_ACCEPTED = Counter(
    "hookkeeper_events_accepted", "Events that are accepted, now or before", ["result"], registry=PROCESS
)
EVENTS_REFUSED = Counter("hookkeeper_events_refused", "Events that were refused", ["reason"], registry=PROCESS)
ACCEPT_SECONDS = Histogram(
    "hookkeeper_accept_seconds",
    "Time to check an event and to commit it to the registry",
    buckets=REQUEST_SECONDS,
    registry=PROCESS,
)
ATTEMPTS = Counter(
    "hookkeeper_attempts", "Attempts, also those without a request", ["channel", "verdict", "error"], registry=PROCESS
)
ATTEMPT_SECONDS = Histogram(
    "hookkeeper_attempt_seconds",
    "Time of an attempt's request",
    ["channel"],
    buckets=REQUEST_SECONDS,
    registry=PROCESS,
)
INTERNAL_ERRORS = Counter(
    "hookkeeper_internal_errors", "Attempts that an internal error has prevented", ["channel"], registry=PROCESS
)
FIRST_ATTEMPT_DELAY = Histogram(
    "hookkeeper_first_attempt_delay_seconds",
    "From the acceptance of an event, or its deliver_at, to the first attempt of a delivery",
    ["channel"],
    buckets=DELAY_SECONDS,
    registry=PROCESS,
)
SUCCESS_DELAY = Histogram(
    "hookkeeper_success_delay_seconds",
    "From the acceptance of an event, or its deliver_at, to the success of a delivery",
    ["channel"],
    buckets=DELAY_SECONDS,
    registry=PROCESS,
)
ALERTS = Counter("hookkeeper_alerts", "Alerts, one for each recipient", ["kind", "verdict"], registry=PROCESS)
WEBHOOKS_DISABLED = Counter(
    "hookkeeper_webhooks_disabled",
    "Webhooks that were disabled because of their attempts",
    ["reason"],
    registry=PROCESS,
)
ID_CLASHES = Counter(
    "hookkeeper_id_clashes", "Events that were accepted while another event with their id was open", registry=PROCESS
)
DATABASE_CONNECTIONS_USED = Gauge(
    "hookkeeper_database_connections_used", "Connections to the registry that are in use", registry=PROCESS
)
DATABASE_CONNECTIONS_MAX = Gauge(
    "hookkeeper_database_connections_max", "Connections to the registry that may be in use", registry=PROCESS
)
CERTIFICATE_EXPIRES = Gauge(
    "hookkeeper_certificate_expires_timestamp_seconds",
    "When a certificate ends with which the process has started",
    ["setting"],
    registry=PROCESS,
)
LIMIT_HITS = Counter("hookkeeper_limit_hits", "Operations that a limit has refused", ["limit"], registry=PROCESS)

# The state of the whole installation, which API processes read. What cannot be read is left out: old values would hide
# that it is unknown.

SOURCES_UP = CollectorRegistry()
SOURCE_UP = Gauge(
    "hookkeeper_source_up", "Whether the state of the installation can be read here", ["source"], registry=SOURCES_UP
)
STATE: dict[Source, CollectorRegistry] = {source: CollectorRegistry() for source in SOURCES}

OLDEST_PENDING = Gauge(
    "hookkeeper_oldest_pending_seconds",
    "For how long the oldest delivery that only waits for a worker has been due; 0 without any",
    registry=STATE["registry"],
)
EVENTS_NOT_STARTED = Gauge(
    "hookkeeper_events_not_started",
    "Events that were accepted some seconds ago and have no run, as while Temporal is away",
    registry=STATE["registry"],
)
DELIVERIES_WAITING = Gauge(
    "hookkeeper_deliveries_waiting", "Deliveries that are held or retrying", ["status"], registry=STATE["registry"]
)
WEBHOOKS = Gauge("hookkeeper_webhooks", "Webhooks by their state", ["state"], registry=STATE["registry"])
BACKLOG = Gauge(
    "hookkeeper_backlog_tasks", "Tasks that wait for a worker, about", ["queue"], registry=STATE["temporal"]
)
WRONG_REGISTRY = Gauge(
    "hookkeeper_wrong_registry",
    "1 if Temporal's namespace does not belong to the registry of this process",
    registry=STATE["temporal"],
)
FAILING_RUNS = Gauge(
    "hookkeeper_failing_runs",
    "Open runs that cannot go on, as their workflow tasks fail; NaN if it is unknown",
    registry=STATE["temporal"],
)


def _with_zeros(metric: Any, *values: Sequence[str]) -> None:
    """Make the series of these labels: without a first 0, `rate()` does not see the first increase."""
    for labels in product(*values):
        metric.labels(*labels)


_with_zeros(EVENTS_ACCEPTED, ("new", "duplicate"))
_with_zeros(EVENTS_REFUSED, REFUSALS)
_with_zeros(ATTEMPTS, CHANNELS, ("succeeded",), ("none",))
_with_zeros(ATTEMPTS, CHANNELS, ("failed",), ("timeout", "other"))
_with_zeros(ATTEMPT_SECONDS, CHANNELS)
_with_zeros(INTERNAL_ERRORS, CHANNELS)
_with_zeros(FIRST_ATTEMPT_DELAY, CHANNELS)
_with_zeros(SUCCESS_DELAY, CHANNELS)
_with_zeros(ALERTS, ALERT_KINDS, ALERT_VERDICTS)
_with_zeros(WEBHOOKS_DISABLED, DISABLED_REASONS)
_with_zeros(LIMIT_HITS, LIMITS)


def exposition(*registries: CollectorRegistry) -> bytes:
    """Return the metrics in Prometheus' text format."""
    return b"".join(map(generate_latest, registries))


@contextmanager
def accepting() -> Iterator[None]:
    """Measure the time of a block that accepts an event."""
    begin = perf_counter()
    yield
    ACCEPT_SECONDS.observe(perf_counter() - begin)


def count_accepted(*, duplicate: bool) -> None:
    EVENTS_ACCEPTED.labels("duplicate" if duplicate else "new").inc()


def count_refusal(reason: str) -> None:
    EVENTS_REFUSED.labels(reason if reason in REFUSALS else "other").inc()


def count_attempt(channel: str, verdict: str, error: str | None, seconds: float | None) -> None:
    """Count an attempt. `seconds` is None if it has made no request."""
    ATTEMPTS.labels(channel, verdict, error_class(error)).inc()
    if seconds is not None:
        ATTEMPT_SECONDS.labels(channel).observe(seconds)


def count_limit(limit: Limit) -> None:
    """Count an operation that a limit has refused."""
    LIMIT_HITS.labels(limit).inc()


def error_class(error: str | None) -> str:
    """Return the class of an outcome's error: `http_5xx` for `http_503`."""
    if error is None:
        return "none"
    if error in ERRORS:
        return error
    protocol, _, code = error.partition("_")
    class_ = f"{protocol}_{code[:1]}xx"
    return class_ if class_ in ERRORS else "other"
