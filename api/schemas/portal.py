"""Requests and answers about links to the customers' portal, and about the sessions that they begin."""

import re
from base64 import b64decode
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.registry.portal import PortalSession
from hookkeeper.services.caller import Capability, FurtherPage, Language
from hookkeeper.services.fields import (
    COLOUR,
    PAGE_PATH,
    Line,
    RequestModel,
    ResponseModel,
    TenantName,
    Time,
    with_examples,
)
from hookkeeper.times import utc_now

MAX_LINK_LIFETIME = timedelta(days=1)
MAX_SESSION_LIFETIME = timedelta(hours=24)
MIN_LIFETIME = timedelta(seconds=1)
MAX_LOGO = 32 * 1024
"""Characters of a logo in base64: 24 KiB of image."""
MAX_FRAME_ORIGINS = 10
BEGINNINGS = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/webp": b"RIFF"}
"""Types of logos, and how their files begin. SVG is not among them: it can have scripts and load other files."""
LOGO = re.compile(r"data:(image/(?:png|jpeg|webp));base64,([A-Za-z0-9+/]+={0,2})", re.ASCII)
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
ORIGIN = rf"^(https://{_LABEL}(\.{_LABEL}){{0,30}}|http://(localhost|127\.0\.0\.1))(:{_PORT})?$"
"""A scheme, a host and perhaps a port, in lower case: nothing that would end a directive of a policy."""
Mode = Literal["auto", "light", "dark"]


def _origin(text: str) -> str:
    if not re.fullmatch(ORIGIN[1:-1], text, re.ASCII):
        raise ValueError(
            "must be an origin with https, in lower case, without a path, and with a port up to 65535 if it has one:"
            " https://app.acme.example:8443"
        )
    return text


def _logo(text: str) -> str:
    read_logo(text)
    return text


def read_logo(text: str) -> tuple[str, bytes]:
    """Return media type and content of a logo. Raises ValueError."""
    match = LOGO.fullmatch(text)
    if not match:
        raise ValueError("must be a data URL with an image in base64: data:image/png;base64,…, or jpeg, or webp")
    kind, content = match[1], b64decode(match[2], validate=True)
    if not content.startswith(BEGINNINGS[kind]):
        raise ValueError(f"is no file of the type {kind}")
    return kind, content


FrameOrigin = Annotated[str, Field(max_length=255, json_schema_extra={"pattern": ORIGIN}), AfterValidator(_origin)]
Colour = Annotated[str, Field(pattern=COLOUR), AfterValidator(str.lower)]
Logo = Annotated[str, Field(max_length=MAX_LOGO, json_schema_extra={"pattern": "^data:image/(png|jpeg|webp);base64,"})]


class Theme(RequestModel):
    """The look of the pages."""

    name: Line | None = Field(None, min_length=1, max_length=64)
    """Shown instead of `Hookkeeper`."""
    mode: Mode = "auto"
    """`auto` follows the reader's system."""
    accent: Colour | None = None
    """Colour of links and main buttons. It is darkened or lightened until its texts have a contrast of 4.5:1."""
    accent_dark: Colour | None = None
    """The same on dark pages; by default `accent`."""
    logo: Annotated[Logo, AfterValidator(_logo)] | None = None
    """A data URL with a PNG, JPEG or WebP image of up to 24 KiB. URLs of other servers are not possible, because pages
    load nothing from elsewhere."""

    def stored(self) -> dict[str, Any]:
        """Return what the registry keeps beside the logo: all others, and the type of the logo."""
        return self.model_dump(exclude={"logo"}) | {"logo": read_logo(self.logo)[0] if self.logo else None}


class NewPortalLink(RequestModel):
    model_config = with_examples(
        {
            "tenant": "acme",
            "name": "ann@acme.example",
            "capabilities": ["view", "redeliver"],
            "path": "/webhooks",
            "frame_origins": ["https://app.acme.example"],
            "theme": {"name": "Acme", "accent": "#0f766e", "mode": "light"},
            "pages": ["schedules"],
            "language": "de",
        }
    )

    tenant: TenantName = DEFAULT_TENANT
    name: Line = Field("Customer portal", min_length=1, max_length=256)
    """Who gets the link: shown on the pages, in lists and in the audit log."""
    capabilities: list[Capability] = Field(["view"], min_length=1, max_length=10)
    """`view` is always included. `manage_webhooks` also shows signing keys, and `redeliver` allows all commands to
    events, recoveries and schedules."""
    link_lifetime: int = Field(
        600,
        ge=MIN_LIFETIME.total_seconds(),
        le=MAX_LINK_LIFETIME.total_seconds(),
        strict=True,
        description="Seconds until which the link must be opened",
    )
    session_lifetime: int = Field(
        3600,
        ge=MIN_LIFETIME.total_seconds(),
        le=MAX_SESSION_LIFETIME.total_seconds(),
        strict=True,
        description="Seconds for which the session lasts once the link was opened",
    )
    path: str = Field("/", max_length=256, pattern=PAGE_PATH, examples=["/webhooks/wh_5d0c6f1e2a3b4c5d"])
    """The page that the link opens, without a query. The capabilities must suffice for it."""
    frame_origins: list[FrameOrigin] = Field(default_factory=list, max_length=MAX_FRAME_ORIGINS)
    """Origins whose pages may show the portal in a frame; by default none may. Needs a public URL with https."""
    theme: Theme | None = None
    pages: list[FurtherPage] = Field(default_factory=list, max_length=10)
    """Pages beside Overview, Events, Webhooks and Event types."""
    language: Language | None = None
    """Language of the pages; by default the one that the customer's browser asks for, else English."""


class ThemeView(ResponseModel):
    name: str | None
    mode: Mode
    accent: str | None
    accent_dark: str | None
    has_logo: bool


class PortalSessionView(ResponseModel):
    id: str
    tenant: str
    name: str
    capabilities: list[Capability]
    status: Literal["open", "active", "expired", "revoked"]
    """`open` until the link is opened, then `active`."""
    path: str
    frame_origins: list[str]
    theme: ThemeView | None
    pages: list[FurtherPage]
    language: Language | None
    key_id: str
    """The key that made the link. Revoking it ends the link and the session."""
    created_at: Time
    expires_at: Time
    """When the link ends, or its session once it was opened."""
    opened_at: Time | None
    revoked_at: Time | None

    @classmethod
    def of_row(cls, row: PortalSession, **others: str) -> Self:
        theme = row.theme and ThemeView(**row.theme | {"has_logo": row.theme["logo"] is not None})
        return cls.of(row, status=_status(row), theme=theme, pages=row.pages or [], **others)


class PortalLink(PortalSessionView):
    url: str
    """Opens the portal once. Shown only in this response."""


def _status(row: PortalSession) -> Literal["open", "active", "expired", "revoked"]:
    if row.revoked_at is not None:
        return "revoked"
    if row.is_over(utc_now()):
        return "expired"
    return "open" if row.opened_at is None else "active"
