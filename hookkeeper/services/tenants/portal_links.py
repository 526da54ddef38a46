"""Links to the customers' portal, and the sessions that they begin: what they have; make a link, end a session."""

import re
from base64 import b64decode
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from hookkeeper.crypto.tokens import new_token
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.api_keys import digest_of
from hookkeeper.registry.tenants.portal import TOKEN_PREFIX, PortalSession, new_portal_session_id
from hookkeeper.services.caller import (
    FURTHER_PAGES,
    Caller,
    Capability,
    FurtherPage,
    Language,
    may_grant,
    scopes_of,
)
from hookkeeper.services.errors import Invalid, NotAllowed, NotFound
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
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now

MAX_LINK_LIFETIME = timedelta(days=1)
MAX_SESSION_LIFETIME = timedelta(hours=24)
MIN_LIFETIME = timedelta(seconds=1)
MAX_LOGO = 32 * 1024
"""Characters of a logo in base64: 24 KiB of image."""
MAX_FRAME_ORIGINS = 10
LOOPBACK = ("http://127.0.0.1", "http://localhost")
"""Where browsers need no https for the cookie of a frame."""
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


async def make_link(
    new: NewPortalLink, opened: frozenset[str] | None, store: Store, caller: Caller, settings: Settings
) -> tuple[PortalSession, str]:
    """Make a link; return it with its URL, of whose token only a digest is kept.

    `opened` are the scopes of the page that it opens; None if there is no such page. Raises NotAllowed, Invalid and
    TooManyPortalSessions.
    """
    fields, new = new.model_fields_set, caller.with_tenant(new)
    capabilities: list[str] = list(dict.fromkeys(("view", *new.capabilities)))
    scopes = scopes_of(capabilities)
    if not may_grant(caller, scopes):
        lacking = ", ".join(sorted(scopes - caller.scopes))
        raise NotAllowed(f"The key lacks scopes that the capabilities need: {lacking}.")
    if opened is None:
        raise Invalid.field("path", "is not the path of a page")
    if not opened & scopes:
        raise Invalid.field("path", "is a page that these capabilities do not open")
    if (further := new.path.split("/")[1]) in FURTHER_PAGES and further not in new.pages:
        raise Invalid.field("path", f"is a page that the link does not have: add {further} to pages")
    if new.frame_origins and not settings.public_url.startswith(("https:", *LOOPBACK)):
        raise Invalid.field("frame_origins", "need HOOKKEEPER_PUBLIC_URL to begin with https: browsers demand it")
    token = new_token()
    link = PortalSession(
        id=new_portal_session_id(),
        tenant=new.tenant,
        name=new.name,
        capabilities=capabilities,
        path=new.path,
        digest=digest_of(token),
        key_id=caller.key_id,
        session_lifetime=new.session_lifetime,
        expires_at=utc_now() + timedelta(seconds=new.link_lifetime),
        frame_origins=list(dict.fromkeys(new.frame_origins)),
        pages=[page for page in FURTHER_PAGES if page in new.pages],
        language=new.language,
        theme=new.theme.stored() if new.theme else None,
        logo=read_logo(new.theme.logo)[1] if new.theme and new.theme.logo else None,
    )
    entry = caller.did("portal-link.create", link.id, link.tenant, fields)
    await store.portal.add(link, entry)
    return link, f"{settings.public_url}/portal/{token}"


async def make_token(link: PortalSession, store: Store, caller: Caller) -> str:
    """Begin a session beside that of a link, with the same rights, and return its token, which is a credential.

    Raises TooManyPortalSessions.
    """
    token, now = new_token(TOKEN_PREFIX), utc_now()
    session = PortalSession(
        id=new_portal_session_id(),
        tenant=link.tenant,
        name=link.name,
        capabilities=link.capabilities,
        path=link.path,
        digest=digest_of(token),
        key_id=link.key_id,
        session_lifetime=link.session_lifetime,
        expires_at=now + timedelta(seconds=link.session_lifetime),
        opened_at=now,
    )
    await store.portal.add(session, caller.did("portal-token.create", session.id, session.tenant))
    return token


async def end_session(session_id: str, store: Store, caller: Caller, forget: Callable[[PortalSession], None]) -> None:
    """Revoke a link, or end its session. `forget` makes this process read it again. Raises NotFound."""
    session = await store.portal.get(session_id, caller.tenant)
    if session is None:
        raise NotFound("There is no such link or session.")
    await store.portal.revoke(session_id, caller.did("portal-session.revoke", session_id, session.tenant))
    forget(session)
