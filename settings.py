"""Settings, from `HOOKKEEPER_…` in the environment or a `.env` file. Temporal's own: `workflows.connection`."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from elements.services import DEFAULT_ALLOWED

DAY = timedelta(days=1)


class BadSetting(ValueError):
    """A setting has a form that is right and a value that is not; the sentence names it and repeats no secret."""


class Settings(BaseSettings):
    """Everything an operator can set. README's table is tested against these fields."""

    model_config = SettingsConfigDict(env_prefix="HOOKKEEPER_", env_file=".env", extra="ignore", frozen=True)

    database_url: str = Field(
        "sqlite+aiosqlite:///.hookkeeper/registry.db",
        pattern=r"^(sqlite\+aiosqlite|postgresql\+asyncpg)://",
        description="Where webhooks are kept: `sqlite+aiosqlite:///…` or `postgresql+asyncpg://…`",
    )
    admin_key: SecretStr | None = Field(
        None, min_length=16, description="The key that may do everything; `dev` makes one where none is given"
    )
    host: str = Field("127.0.0.1", description="Address that the API listens on")
    port: int = Field(8080, ge=1, le=65535, description="Port that the API listens on")
    allowed_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Networks (CIDR, comma-separated) that deliveries may reach although they are private;"
        " `dev` allows loopback unless this is given",
    )
    require_https: bool = Field(False, description="Refuse webhooks whose URL is plain `http`")
    require_known_event_types: bool = Field(False, description="Refuse events whose type is not in the catalogue")
    max_event_bytes: int = Field(
        256 * 1024, ge=1024, le=1024 * 1024, description="Largest request body of one event, in bytes"
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
    public_url: str = Field("http://127.0.0.1:8080", description="Where people reach the API; used in links")
    temporal_ui_url: str | None = Field(
        None, description="Where people reach the Temporal web UI; used in links, which are null without it"
    )

    @field_validator("allowed_networks", "notification_services", "alert_emails", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("outbox", mode="before")
    @classmethod
    def _no_outbox(cls, value: object) -> object:
        return value or None

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            ip_network(part)
        return value

    @field_validator("public_url", "temporal_ui_url")
    @classmethod
    def _no_trailing_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else None
