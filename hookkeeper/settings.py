"""Settings, from `HOOKKEEPER_…` in the environment or `.env`. `hookkeeper.temporal.server` has Temporal's own."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hookkeeper.addresses import parse_networks
from hookkeeper.content.sizes import RenderLimits
from hookkeeper.content.text import API_KEY
from hookkeeper.content.urls import check_name_server, check_proxy
from hookkeeper.policy import DEFAULT_ALERT_AFTER, AlertAfter, HealthDefaults
from hookkeeper.wording import read_durations

if TYPE_CHECKING:
    from hookkeeper.crypto.keyring import Keyring

NameServer = Annotated[str, AfterValidator(check_name_server)]
DAY = timedelta(days=1)
LONGEST = 36_500 * DAY
"""The longest duration: a time so far ahead can still be written."""
MIB = 1024 * 1024
MAX_PORT = 65535
MIN_ADMIN_KEY = 16
"""Characters."""
RATE = r"^[1-9][0-9]{0,8}/(second|minute|hour|day)$"
"""A rate limit: `100/second`."""
SECRETS_FOLDERS = [
    folder for folder in (os.environ.get("CREDENTIALS_DIRECTORY"), "/run/secrets") if folder and Path(folder).is_dir()
]
"""Folders with a file for each setting that is not in the environment: systemd's, and that of containers."""


class BadSetting(ValueError):
    """A setting cannot be used. The message names it and contains no secret."""


class Settings(BaseSettings):
    """Everything an operator can set. The table in docs/settings.md is tested against these fields."""

    model_config = SettingsConfigDict(
        env_prefix="HOOKKEEPER_",
        env_file=".env",
        secrets_dir=SECRETS_FOLDERS,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: str = Field(
        "sqlite+aiosqlite:///.hookkeeper/registry.db",
        description="Database of the registry: `sqlite+aiosqlite:///…` or `postgresql+asyncpg://…`. For TLS, add"
        " `?ssl=require`, or `?ssl=verify-full` with the authorities in `PGSSLROOTCERT`",
    )
    database_connections: int = Field(
        16,
        ge=8,
        le=1000,
        description="Connections of a process to PostgreSQL, at most ([sum](deployment.md#connections))",
    )
    admin_key: SecretStr | None = Field(
        None,
        description="Key with all permissions, in printable ASCII; `dev` generates one if it is not set",
    )
    previous_admin_key: SecretStr | None = Field(
        None,
        description="The admin key before its [rotation](operations.md#rotation), which is accepted too",
    )
    encryption_keys: SecretStr | None = Field(
        None,
        description="Keys that encrypt data in the registry and in Temporal: `id:base64-of-32-bytes`,"
        " comma-separated. The first key encrypts, all keys decrypt",
    )
    cell_map: Path | None = Field(
        None,
        description="File with the map of [cells](cells.md), for `hookkeeper router` and `hookkeeper cells`",
    )
    host: str = Field("127.0.0.1", description="Address on which the API listens")
    port: int = Field(8080, ge=1, le=MAX_PORT, description="Port on which the API listens")
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Addresses and networks (CIDR) of proxies in front of the API, comma-separated, whose"
        " `X-Forwarded-For` and `X-Forwarded-Proto` are believed ([network](deployment.md#network)). If not set, none"
        " are",
    )
    allowed_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Private networks (CIDR) and host names, comma-separated, to which deliveries are allowed;"
        " `dev` allows loopback if it is not set",
    )
    egress_proxy: SecretStr | None = Field(
        None,
        description="HTTP proxy for requests to webhooks, notifications and SendGrid: `http://user:password@host:port`",
    )
    dns_servers: Annotated[tuple[NameServer, ...], NoDecode] = Field(
        (),
        description="Name servers of the worker, comma-separated: `address` or `address:port`. Default: those of"
        " `/etc/resolv.conf`",
    )
    require_https: bool = Field(
        False,
        description="Refuse `http` URLs of webhooks and notifications, when they are saved and when they are sent",
    )
    svix_api: bool = Field(True, description="Serve the API of Svix's open server at `/api/v1`, for its clients")
    require_known_event_types: bool = Field(False, description="Refuse events whose type is not in the catalogue")
    max_event_bytes: int = Field(
        256 * 1024, ge=1024, le=1024 * 1024, description="Maximum size of the request body of one event, in bytes"
    )
    max_events_per_run: int = Field(
        50,
        ge=1,
        le=100,
        description="Events that are accepted at the same time and share a run for their first attempts, at most;"
        " with `1`, each event has a run of its own",
    )
    max_bytes_in_flight: int = Field(
        192 * MIB,
        ge=8 * MIB,
        description="Memory of a worker for outgoing requests with their bodies, in bytes, half of it for one tenant;"
        " the data of their events may use the same amount again",
    )
    max_run_cache_bytes: int = Field(
        80 * MIB,
        ge=MIB,
        description="Memory of a worker for open runs, in bytes, about 200 KiB each. Other runs are replayed when they"
        " continue, which costs time: raise it if many runs wait",
    )
    max_concurrent_activities: int = Field(
        100, ge=1, le=10_000, description="Concurrent activities of a worker, per task queue"
    )
    max_concurrent_per_webhook: int = Field(
        20,
        ge=1,
        description="Concurrent requests of a worker to one webhook; further requests wait",
    )
    max_concurrent_requests_per_tenant: int = Field(
        8,
        ge=1,
        description="API requests of one tenant that an API process handles at once, until their answers are read; ten"
        " times as many wait, and further ones are answered with 429",
    )
    max_concurrent_per_tenant: int = Field(
        50,
        ge=1,
        description="Concurrent activities of one tenant, per task queue and worker, but at most half of the slots"
        " that other tenants leave free. Further activities are retried later, which does not count as"
        " an attempt",
    )
    max_backlog: int | None = Field(
        None, ge=1, description="Tasks that may wait for the workers; above it, new events are answered with 429"
    )
    max_events_not_started: int = Field(
        1_000_000,
        ge=2,
        description="Events that may wait for Temporal while it is away, half of them of one tenant; above it, new"
        " events are answered with 429 for a tenant, and with 503 for all",
    )
    max_webhooks_per_tenant: int = Field(200, ge=1, description="Maximum number of webhooks of one tenant")
    max_suppressions_per_tenant: int = Field(
        100_000,
        ge=1,
        description="Maximum number of suppressed addresses that one tenant has added; as many that a provider has"
        " reported are kept, the newest ones",
    )
    max_addresses_per_webhook: int = Field(
        100,
        ge=1,
        description="Maximum number of addresses in the emails of one webhook, including `on_failure`; a template"
        " counts as one",
    )
    max_schedules_per_tenant: int = Field(50, ge=1, le=900, description="Maximum number of schedules of one tenant")
    min_schedule_interval: int = Field(
        10,
        ge=1,
        le=60,
        description="Minimum interval of a schedule, in seconds; cron expressions have a resolution of one minute",
    )
    rate_limit: str | None = Field(
        "100/second",
        pattern=RATE,
        description="Rate limit of each key, per API process; a key's own `rate_limit` takes precedence, and the"
        " admin key has none. Empty: no limit",
    )
    change_rate_limit: str | None = Field(
        "600/minute",
        pattern=RATE,
        description="Rate limit of the changes and commands of each tenant, by all of its keys and sessions of the"
        " portal, per API process. Empty: no limit",
    )
    disable_after: timedelta | None = Field(
        5 * DAY,
        ge=timedelta(0),
        le=LONGEST,
        description="A webhook that has only failed for this time is disabled, and its owner is alerted; `0` means"
        " never. A webhook's own `disable_after` takes precedence",
    )
    alert_after: Annotated[AlertAfter, NoDecode] = Field(
        DEFAULT_ALERT_AFTER,
        description="When a webhook counts as `failing`: after failed attempts in a row, or a time since the first one,"
        " as in `5 attempts, 15m`; either may be left out. A webhook's own `alert_after` takes precedence",
    )
    max_hold: timedelta = Field(
        30 * DAY,
        gt=timedelta(0),
        le=LONGEST,
        description="A delivery that was held for this time, by a command or by a paused or disabled webhook, fails"
        " with the reason `held_too_long`",
    )
    probe_interval: timedelta | None = Field(
        None,
        ge=timedelta(seconds=1),
        le=LONGEST,
        description="Interval at which a webhook that was disabled for failures is sent a `hookkeeper.test` event;"
        " it is enabled when it answers with 2xx. If not set, no test events are sent",
    )
    retention: timedelta = Field(
        30 * DAY,
        ge=timedelta(hours=1),
        le=LONGEST,
        description="Time for which Temporal keeps finished events with their logs, and recognises their ids as"
        " duplicates",
    )
    audit_retention: timedelta | None = Field(
        365 * DAY,
        ge=DAY,
        le=LONGEST,
        description="Time for which entries of the audit log are kept. Empty: they are never removed",
    )
    sendgrid_api_key: SecretStr | None = Field(
        None, description="API key of SendGrid; emails are sent through SendGrid"
    )
    sendgrid_host: str = Field(
        "https://api.sendgrid.com", description="Base URL of SendGrid's API; `https://api.eu.sendgrid.com` in the EU"
    )
    sendgrid_verification_key: str | None = Field(
        None, description="Public key of SendGrid's signed event webhook; enables tracking of arrivals and bounces"
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="SMTP server for emails, instead of SendGrid: `smtp://user:password@host:587` or `smtps://…:465`",
    )
    email_from: str = Field(
        "Hookkeeper <hookkeeper@localhost>", description="Sender of all emails: an address, or `Name <address>`"
    )
    email_capture_dir: Path | None = Field(
        None, description="Folder to which emails are written if no provider is set; `dev` sets it"
    )
    alert_emails: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Addresses (comma-separated) that are alerted to failures of all webhooks, in addition to"
        " `on_failure`",
    )
    alert_services: SecretStr | None = Field(
        None,
        description="Services (their [addresses](notifications.md#services), space-separated) that are alerted to"
        " failures of all webhooks",
    )
    task_queue: str = Field(
        "hookkeeper",
        pattern=r"^[A-Za-z0-9_.-]{1,100}$",
        description="Temporal task queue of workflows and first attempts; the names of the other queues begin with it",
    )
    deployment_version: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.+-]{1,100}$",
        description="Version of the workers in Temporal, such as a release: tasks go to the current version only"
        " ([worker versions](internals/changing-workflows.md#worker-versions)). If not set, workers have no version",
    )
    metrics_address: str | None = Field(
        None,
        pattern=r"^(\[[0-9a-f:]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}$",
        description="Address and port at which a process serves its [metrics](metrics.md), without a key:"
        " `127.0.0.1:9464`. If not set, it serves none; `dev` sets it",
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="OpenTelemetry collector to which [traces](tracing.md) are exported with OTLP over HTTP:"
        " `http://127.0.0.1:4318`. Needs the extra `otel`",
    )
    mcp: bool = Field(
        True, description="Serve [agents](agents.md) at `/mcp`, with the scopes of their keys. Needs the extra `mcp`"
    )
    send_traceparent: bool = Field(
        False,
        description="Send the header `traceparent` to webhooks: the context of the attempt, or without an exporter the"
        " one that came with the event",
    )
    log_format: Literal["console", "json"] = Field("console", description="Format of logs: `console` or `json`")
    dev_synchronous: Literal["normal", "full"] = Field(
        "normal",
        description="Write mode of the Temporal database in `hookkeeper dev` and `demo`. With `normal`, a power cut can"
        " lose the latest writes, also after a 202; `full` waits for the disk at each write, so it loses nothing",
    )
    heartbeat_delay: timedelta = Field(
        timedelta(milliseconds=100),
        ge=timedelta(milliseconds=100),
        le=timedelta(seconds=10),
        description="Time from the outcome of an attempt to the heartbeat that reports it, if other attempts of its"
        " activity last longer. A worker that is killed loses the outcomes of this time: their requests are sent again."
        " On Temporal Cloud, each heartbeat is an [action](temporal-cloud.md#actions)",
    )
    shutdown_timeout: timedelta = Field(
        timedelta(seconds=30),
        ge=timedelta(0),
        le=LONGEST,
        description="Time that a stopping worker has to finish attempts in progress, and the API to finish requests"
        " (at most 10 s); ten seconds later the process exits in any case",
    )
    shutdown_delay: timedelta = Field(
        timedelta(seconds=5),
        ge=timedelta(0),
        le=timedelta(minutes=5),
        description="Time after SIGTERM in which the API still serves, and `GET /readyz` answers 503, so that load"
        " balancers choose other processes",
    )
    public_url: str = Field("http://127.0.0.1:8080", description="Public URL of the API, used in links")
    portal_url: str | None = Field(
        None,
        description="Where your own application opens the [portal](dashboard.md#customers-portal): links in alerts to"
        " the owners of webhooks begin with it, as in `https://app.example/hooks/webhooks/wh_…`. If it is not set, they"
        " begin with `HOOKKEEPER_PUBLIC_URL`",
    )
    temporal_ui_url: str | None = Field(
        None,
        description="Public URL of the Temporal web UI, used in links for operators: keys of all tenants, and alerts to"
        " the operator. If it is not set, links are null",
    )

    @property
    def admin_keys(self) -> tuple[str, ...]:
        """The admin key, and the one before it."""
        return tuple(key.get_secret_value() for key in (self.admin_key, self.previous_admin_key) if key)

    @property
    def render_limits(self) -> RenderLimits:
        """Maximum bytes of what templates render for an event."""
        return RenderLimits(body_bytes=2 * self.max_event_bytes)

    @property
    def health_defaults(self) -> HealthDefaults:
        """When webhooks without settings of their own are failing, and when they are disabled."""
        return HealthDefaults(self.alert_after, self.disable_after.total_seconds() if self.disable_after else None)

    @property
    def traces_events(self) -> bool:
        """Whether events keep the context of their trace."""
        return self.send_traceparent or self.otlp_endpoint is not None

    @property
    def keyring(self) -> "Keyring | None":
        """A new keyring of the encryption keys. Processes create one at their start and share it."""
        from hookkeeper.crypto.keyring import Keyring  # with cryptography, which most commands do not need

        return Keyring.parse(self.encryption_keys.get_secret_value()) if self.encryption_keys else None

    @field_validator("port", mode="before")
    @classmethod
    def _is_not_a_service_link(cls, value: object) -> object:
        if isinstance(value, str) and value.startswith("tcp://"):
            raise ValueError(
                "Kubernetes sets this variable for a service named `hookkeeper`: set `enableServiceLinks: false`"
                " in the pod, or choose another name for the service"
            )
        return value

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: str) -> str:
        if value.startswith("sqlite+aiosqlite://"):
            return value
        if not value.startswith("postgresql+asyncpg://"):
            raise ValueError("must begin with sqlite+aiosqlite:// or postgresql+asyncpg://")
        from hookkeeper.registry.storage.database import (
            check_database_url,  # with SQLAlchemy, which most commands do not need
        )

        return check_database_url(value)

    @field_validator("admin_key", "previous_admin_key")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        if value and len(value.get_secret_value()) < MIN_ADMIN_KEY:
            raise ValueError(f"must have {MIN_ADMIN_KEY} characters or more")
        if value and not API_KEY.fullmatch(value.get_secret_value()):
            raise ValueError(
                "must be printable ASCII that neither begins nor ends with a space: no request could send it"
            )
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if not value or not value.get_secret_value().strip():
            return None
        from hookkeeper.crypto.keyring import Keyring

        Keyring.parse(value.get_secret_value())
        return value

    @field_validator(
        "trusted_proxies",
        "allowed_networks",
        "dns_servers",
        "alert_emails",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator(
        "previous_admin_key",
        "deployment_version",
        "email_capture_dir",
        "metrics_address",
        "otlp_endpoint",
        "disable_after",
        "probe_interval",
        "audit_retention",
        "rate_limit",
        "change_rate_limit",
        mode="before",
    )
    @classmethod
    def _or_none(cls, value: object) -> object:
        return value or None

    @field_validator(
        *("retention", "audit_retention", "disable_after", "max_hold", "probe_interval"),
        *("heartbeat_delay", "shutdown_timeout", "shutdown_delay"),
        mode="before",
    )
    @classmethod
    def _seconds(cls, value: object) -> object:
        """Convert `90` to a number: the environment has only text, and Pydantic reads only numbers as seconds."""
        if not isinstance(value, str) or not value:
            return value
        try:
            return float(value)
        except ValueError:
            if not value.strip().upper().lstrip("+-").startswith("P"):
                raise ValueError("must be a number of seconds, or an ISO 8601 duration such as PT90S or P30D") from None
        return value

    @field_validator("alert_after", mode="before")
    @classmethod
    def _is_alert_after(cls, value: object) -> object:
        if isinstance(value, str):
            return read_alert_after(value) if value else DEFAULT_ALERT_AFTER
        return value

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_networks(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if names := parse_networks(value).names:
            raise ValueError(f"{', '.join(sorted(names))}: only addresses and networks can be trusted, not names")
        return value

    @field_validator("egress_proxy")
    @classmethod
    def _is_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        check_proxy(value.get_secret_value())
        return value

    @field_validator("metrics_address")
    @classmethod
    def _has_port(cls, value: str | None) -> str | None:
        if value is not None and int(value.rpartition(":")[2]) > MAX_PORT:
            raise ValueError(f"the port may be at most {MAX_PORT}")
        return value

    @field_validator("public_url", "portal_url", "temporal_ui_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        """Remove slashes from the end: paths are appended."""
        if not value:
            return None
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")


def read_alert_after(text: str) -> AlertAfter:
    """Read `5 attempts, 15m`, or one of the two. Raises ValueError."""
    match = re.fullmatch(r"(?:([0-9]+) attempts?(?:, *|$))?([0-9.]+[smhd]?)?", text.strip(), re.ASCII)
    if not match or not any(match.groups()):
        raise ValueError("must be as in `5 attempts, 15m`, or one of the two")
    attempts, time = match.groups()
    return AlertAfter(
        attempts=int(attempts) if attempts else None, seconds=float(read_durations(time)[0]) if time else None
    )
