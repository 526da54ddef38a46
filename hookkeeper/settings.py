"""Settings, from `HOOKKEEPER_…` in the environment or `.env`. `hookkeeper.temporal.connection` has Temporal's own."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from hookkeeper.content.services import DEFAULT_ALLOWED
from hookkeeper.content.urls import check_name_server, check_proxy
from hookkeeper.crypto.keyring import Keyring
from hookkeeper.egress.addresses import parse_networks

DAY = timedelta(days=1)
MIB = 1024 * 1024
RATE = r"^[1-9][0-9]{0,8}/(second|minute|hour|day)$"
"""How a limit of requests is written."""


class BadSetting(ValueError):
    """A setting has a form that is right and a value that is not; the sentence names it and repeats no secret."""


class Settings(BaseSettings):
    """Everything an operator can set. The table in docs/settings.md is tested against these fields."""

    model_config = SettingsConfigDict(
        env_prefix="HOOKKEEPER_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: str = Field(
        "sqlite+aiosqlite:///.hookkeeper/registry.db",
        pattern=r"^(sqlite\+aiosqlite|postgresql\+asyncpg)://",
        description="Where webhooks are kept: `sqlite+aiosqlite:///…` or `postgresql+asyncpg://…`",
    )
    admin_key: SecretStr | None = Field(
        None, min_length=16, description="The key that may do everything; `dev` makes one where none is given"
    )
    encryption_keys: SecretStr | None = Field(
        None,
        description="Keys that encrypt what is kept, in the registry and in Temporal: `id:base64-of-32-bytes`,"
        " comma-separated. The first writes, all of them read",
    )
    host: str = Field("127.0.0.1", description="Address that the API listens on")
    port: int = Field(8080, ge=1, le=65535, description="Port that the API listens on")
    allowed_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Networks (CIDR) and hosts, comma-separated, that deliveries may reach although they are private;"
        " `dev` allows loopback unless this is given",
    )
    egress_proxy: SecretStr | None = Field(
        None,
        description="HTTP proxy that webhooks, calls of HTTP APIs and SendGrid's are reached through:"
        " `http://user:password@host:port`",
    )
    dns_servers: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Name servers that the worker asks, comma-separated: `address` or `address:port`; without, those of"
        " `/etc/resolv.conf`",
    )
    dns_timeout: float = Field(
        5.0, gt=0, le=20, description="Seconds after which a name that no server answers for counts as not resolvable"
    )
    max_concurrent_lookups: int = Field(
        50, ge=1, description="Name lookups that a worker has under way for one tenant; more wait for up to 20 s"
    )
    max_concurrent_handshakes: int = Field(
        4,
        ge=1,
        description="Connections to receivers with `tls` of their own that a worker opens at once for one tenant; more"
        " wait for up to 20 s",
    )
    max_concurrent_sandbox_calls: int = Field(
        3,
        ge=1,
        le=64,
        description="Processes, of each API and each worker, in which templates, filters and schemas are evaluated",
    )
    max_concurrent_sandbox_calls_per_tenant: int = Field(
        2, ge=1, description="How many of these processes one tenant may use at once; more calls wait"
    )
    require_https: bool = Field(
        False,
        description="Refuse plain `http` in the URLs of webhooks and notifications, when they are saved and when they"
        " are sent to",
    )
    require_known_event_types: bool = Field(False, description="Refuse events whose type is not in the catalogue")
    max_event_bytes: int = Field(
        256 * 1024, ge=1024, le=1024 * 1024, description="Largest request body of one event, in bytes"
    )
    max_bytes_in_flight: int = Field(
        192 * MIB,
        ge=16 * MIB,
        description="Bytes of memory that a worker uses for requests under way, with their bodies; and as many for the"
        " data of their events",
    )
    max_bytes_in_flight_per_tenant: int = Field(
        96 * MIB,
        ge=4 * MIB,
        description="Of these, bytes that one tenant may use, and never more than it leaves free for others; more"
        " requests wait for up to 20 s, and are then deferred, which costs no attempt",
    )
    max_connections: int = Field(
        800,
        ge=10,
        description="Connections that an API process holds at once; one more ends the one that has kept it waiting"
        " longest",
    )
    max_concurrent_rounds: int = Field(
        100, ge=1, le=10_000, description="Rounds of deliveries that a worker makes at once from each of its queues"
    )
    max_concurrent_per_webhook: int = Field(
        20,
        ge=1,
        description="Requests that a worker has under way to one webhook; more wait in the limited queue, which lets as"
        " many again be under way",
    )
    max_concurrent_requests_per_tenant: int = Field(
        8,
        ge=1,
        description="Requests of one tenant's keys that an API process handles at once; ten times as many more wait,"
        " and what comes beyond is answered 429",
    )
    max_concurrent_per_tenant: int = Field(
        50,
        ge=1,
        description="Rounds that a worker makes at once for one tenant from each of its queues, and never more than it"
        " leaves free for others; more are tried again after 1, 2, 4 … seconds, which costs no attempt",
    )
    max_backlog: int | None = Field(
        None,
        ge=1,
        description="Rounds and steps of runs that may wait for a worker; above it, new events are answered 429",
    )
    max_webhooks_per_tenant: int = Field(200, ge=1, description="Webhooks that one tenant may have")
    max_addresses_per_webhook: int = Field(
        100,
        ge=1,
        description="Addresses that the emails of one webhook may have, with those of its `on_failure`; a template"
        " counts as one",
    )
    max_schedules_per_tenant: int = Field(50, ge=1, le=900, description="Schedules that one tenant may have")
    min_schedule_interval: int = Field(
        10,
        ge=1,
        le=60,
        description="Seconds between two events of a schedule, at least; `cron` has a minute in any case",
    )
    rate_limit: str | None = Field(
        "100/second",
        pattern=RATE,
        description="Requests that each key may make; a key's own `rate_limit` goes before, the admin key has none."
        " Empty: no limit. Counted in each API process",
    )
    disable_after: timedelta | None = Field(
        5 * DAY,
        ge=timedelta(0),
        description="A webhook that has only failed for so long is disabled, and its owner told; `0` is never. A"
        " webhook's own `disable_after` goes before",
    )
    max_hold: timedelta = Field(
        30 * DAY,
        gt=timedelta(0),
        description="A delivery that was held for so long, by a person or because its webhook is paused or disabled,"
        " fails with the reason `held_too_long`",
    )
    probe_interval: timedelta | None = Field(
        None,
        ge=timedelta(seconds=1),
        description="A webhook that was disabled for failing is sent a `hookkeeper.test` event this often, and enabled"
        " when it answers 2xx; without, a person enables it",
    )
    retention: timedelta = Field(
        30 * DAY,
        ge=timedelta(hours=1),
        description="How long Temporal keeps finished runs, and so the log and the idempotency of event ids"
        " (ISO 8601 duration or seconds)",
    )
    sendgrid_api_key: SecretStr | None = Field(None, description="Send emails through SendGrid with this key")
    sendgrid_host: str = Field(
        "https://api.sendgrid.com", description="Where SendGrid's API is; `https://api.eu.sendgrid.com` in the EU"
    )
    sendgrid_verification_key: str | None = Field(
        None, description="Public key of SendGrid's signed event webhook; with it, arrivals and bounces are tracked"
    )
    smtp_url: SecretStr | None = Field(
        None, description="Send emails by SMTP instead: `smtp://user:password@host:587` or `smtps://…:465`"
    )
    email_from: str = Field(
        "Hookkeeper <hookkeeper@localhost>", description="Sender of all emails: an address, or `Name <address>`"
    )
    outbox: Path | None = Field(
        None,
        description="Without a provider, emails are kept in this folder instead of being sent; `dev` sets it",
    )
    notification_services: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_ALLOWED, description="Services (Apprise schemes, comma-separated) that notifications may use"
    )
    alert_emails: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses (comma-separated) that are told of every failure, besides a webhook's `on_failure`"
    )
    alert_services: SecretStr | None = Field(
        None, description="Services (Apprise URLs, space-separated) that are told of every failure"
    )
    task_queue: str = Field(
        "hookkeeper",
        pattern=r"^[A-Za-z0-9_.-]{1,100}$",
        description="Temporal task queue of workflows and first rounds",
    )
    log_format: Literal["console", "json"] = Field("console", description="`console` or `json`")
    dev_synchronous: Literal["normal", "full"] = Field(
        "normal",
        description="How `hookkeeper dev` and `demo` write Temporal's SQLite database. With `normal`, a power cut can"
        " lose the last moments; `full` waits for the disk at each write, and is slower",
    )
    shutdown_timeout: timedelta = Field(
        timedelta(seconds=30),
        ge=timedelta(0),
        description="How long a worker that was told to stop finishes the attempts that are under way, and the API its"
        " requests (10 s at most); ten seconds later the process ends, whatever hangs",
    )
    debug_event_loop: int | None = Field(
        None,
        ge=1,
        description="For debugging: milliseconds that one step may hold the event loop of the API or a worker; each"
        " longer one is logged as an error, with its stack",
    )
    public_url: str = Field("http://127.0.0.1:8080", description="Where people reach the API; used in links")
    temporal_ui_url: str | None = Field(
        None, description="Where people reach the Temporal web UI; used in links, which are null without it"
    )

    @property
    def max_body_bytes(self) -> int:
        """Bytes that a body may have that templates make of an event."""
        return 2 * self.max_event_bytes

    @property
    def keyring(self) -> Keyring | None:
        """The keys as one encrypts with them; a new keyring each time, so ask once a process."""
        return Keyring.parse(self.encryption_keys.get_secret_value()) if self.encryption_keys else None

    @field_validator("encryption_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if not value or not value.get_secret_value().strip():
            return None
        Keyring.parse(value.get_secret_value())
        return value

    @field_validator("allowed_networks", "dns_servers", "notification_services", "alert_emails", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("outbox", "disable_after", "probe_interval", "rate_limit", "debug_event_loop", mode="before")
    @classmethod
    def _or_none(cls, value: object) -> object:
        return value or None

    @field_validator("retention", "disable_after", "max_hold", "probe_interval", "shutdown_timeout", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        """Read `90` as seconds: Pydantic does so with a number, and the environment has only text."""
        return float(value) if isinstance(value, str) and value.strip().isdecimal() else value

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_networks(value)
        return value

    @field_validator("dns_servers")
    @classmethod
    def _are_name_servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for server in value:
            check_name_server(server)
        return value

    @field_validator("egress_proxy")
    @classmethod
    def _is_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        check_proxy(value.get_secret_value())
        return value

    @field_validator("public_url", "temporal_ui_url")
    @classmethod
    def _no_trailing_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else None
