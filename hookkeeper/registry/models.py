"""The tables of the registry. A test compares them with the migrations.

The tables of keys, of the portal and of the audit log are in `registry.tenants.api_keys`, `…portal` and `…audit`.
"""

from datetime import UTC, datetime
from functools import cache
from types import GenericAlias
from typing import Any, ClassVar, get_origin
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, TypeAdapter
from sqlalchemy import JSON, DateTime, Dialect, Double, ForeignKey, Index, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column, relationship, validates
from sqlalchemy.types import TypeDecorator

from hookkeeper.content.context import AlertKind, WebhookContext
from hookkeeper.content.notifications import OnFailure
from hookkeeper.content.payload import Payload
from hookkeeper.content.tls import Tls
from hookkeeper.kind import load
from hookkeeper.kinds import LISTS
from hookkeeper.policy import AlertAfter, OrderPolicy, RetryPolicy
from hookkeeper.registry.numbering import Numbered, Targets
from hookkeeper.registry.storage.encryption import EncryptedJson, EncryptedText
from hookkeeper.times import utc_now

UNHEALTHY = text("unhealthy_since IS NOT NULL")
MOVING = "moving"
"""Why an ordered webhook is disabled whose tenant is about to move here from another cell."""
HANGING_AFTER = 3
"""Timeouts in a row."""
HANGING_RATE = 2.0
"""Requests a second to a webhook that does not answer."""


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time. SQLite has no time zones, so times are stored in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC. Raises ValueError for a naive time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: give it a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


AS_GIVEN: dict[str, Any] = {"mode": "json", "exclude_unset": True}
"""How a model is written: unset fields remain unset, so defaults apply."""


class ElementJson(TypeDecorator[Any]):
    """An element of a webhook as it was given: unset fields remain unset, so defaults apply."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Dump the given fields; an empty value is NULL."""
        return _adapter(self.kind).dump_python(value, **AS_GIVEN) if value else None

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Load the element; NULL is None, or an empty tuple or dict."""
        if value is None:
            kind = get_origin(self.kind)
            return kind() if kind in (tuple, dict) else None
        return _adapter(self.kind).validate_python(value)


class TargetsJson(TypeDecorator[Any]):
    """The targets of each kind, as they were given. Those of a kind that is not installed are kept as they are."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Dump the given fields; no targets are NULL."""
        return {
            name: {**targets._asdict(), "items": _adapter(_items_of(name)).dump_python(targets.items, **AS_GIVEN)}
            for name, targets in value.items()
        } or None

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Load the targets; NULL is none."""
        return {
            name: Numbered(_adapter(_items_of(name)).validate_python(of["items"]), tuple(of["numbers"]), of["used"])
            for name, of in (value or {}).items()
        }


@cache
def _items_of(name: str) -> Any:
    model = next((load(items.model) for kind, items in LISTS if kind.name == name), Any)
    return GenericAlias(tuple, (model, ...))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class AlertState(BaseModel):
    """The last alert of deliveries that have failed for good."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    token: str
    """Identifies the alert, so that it can be claimed again."""
    reported: int = 0
    """Failures before this alert that had none. The alert reports their number."""
    unreported: int = 0
    """Failures since this alert that had none."""


class Failure(BaseModel):
    """The latest attempt of a target, which has failed."""

    model_config = ConfigDict(frozen=True)

    since: datetime
    """The first failed attempt since its latest success."""
    failures: int
    """Failed attempts in a row; approximate."""
    at: datetime
    status_code: int | None = None
    error: str | None = None
    text: str = ""
    """The start of what the receiver said, without secrets."""
    event_id: str = ""
    failing_from: datetime | None = None
    """From when on its webhook is `failing` for it; None if more failures are needed."""


class IncidentState(AlertState):
    """The last alert of the webhook's incident about the webhook itself."""

    kind: AlertKind
    streak: str = ""
    """The latest failures of the webhook that had no alert, so that they are counted once."""
    disabled_at: datetime | None = None
    """When the webhook was disabled, as of the last alert about that."""
    key: str
    """The same for all alerts of an incident."""
    since: datetime | None = None
    """When the failures began."""
    failing_at: datetime | None = None
    """When the last alert `failing` was sent."""
    reminders: int = 0
    """Reminders since then."""
    warned: float | None = None
    """The seconds before it is disabled automatically for which there was a warning last."""

    @property
    def is_open(self) -> bool:
        """Whether the latest alert said that the webhook does not work."""
        return self.kind != "recovered"


class Base(MappedAsDataclass, DeclarativeBase):
    """The base class of tables, with the column types of Python types."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        float: Double,
        RetryPolicy: ElementJson(RetryPolicy),
        AlertAfter: ElementJson(AlertAfter),
        AlertState: ElementJson(AlertState),
        IncidentState: ElementJson(IncidentState),
        list[str]: JSON,
        list[Any]: JSON,
        dict[str, Any]: JSON(none_as_null=True),
        dict[str, str]: JSON,
    }


class WebhookPattern(Base, kw_only=True, eq=False):
    """One row for each pattern of a webhook, so that matching an event is an index lookup.

    The columns of the primary key are in the order of that lookup.
    """

    __tablename__ = "webhook_patterns"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    pattern: Mapped[str] = mapped_column(primary_key=True)
    webhook_id: Mapped[str] = mapped_column(
        ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True, index=True, init=False
    )


class Webhook(Base, kw_only=True, eq=False, repr=False):
    """A webhook. It has no repr, because it contains secrets."""

    __tablename__ = "webhooks"
    __table_args__ = (
        Index("ix_webhooks_created_at", "created_at", "id"),
        Index("ix_webhooks_tenant_created_at", "tenant", "created_at", "id"),
        Index("ix_webhooks_uid", "uid", "tenant", unique=True),
        Index(
            "ix_webhooks_unhealthy_since", "unhealthy_since", "id", sqlite_where=UNHEALTHY, postgresql_where=UNHEALTHY
        ),
    )

    # `tenant` comes first, because the validator of `events` reads it.
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    url: Mapped[str] = mapped_column(EncryptedText("webhooks.url"))
    """Empty if it has only other targets."""
    events: Mapped[list[str]]
    secret: Mapped[str] = mapped_column(EncryptedText("webhooks.secret"))
    uid: Mapped[str | None] = mapped_column(default=None)
    """The tenant's own id of the webhook."""
    channels: Mapped[tuple[str, ...]] = mapped_column(ElementJson(tuple[str, ...]), default=(), nullable=True)
    """Empty: it gets events of any channel, and of none."""
    name: Mapped[str] = mapped_column(default="")
    description: Mapped[str] = mapped_column(default="")
    headers: Mapped[dict[str, str]] = mapped_column(EncryptedJson("webhooks.headers"), default_factory=dict)
    previous_secret: Mapped[str | None] = mapped_column(EncryptedText("webhooks.previous_secret"), default=None)
    """Several are separated by spaces, the latest first."""
    previous_secret_expires_at: Mapped[datetime | None] = mapped_column(default=None)
    tls: Mapped[Tls | None] = mapped_column(EncryptedJson("webhooks.tls", ElementJson(Tls)), default=None)
    retry: Mapped[RetryPolicy | None] = mapped_column(default=None)
    timeout: Mapped[float] = mapped_column(default=15.0)
    rate_limit: Mapped[float | None] = mapped_column(default=None)
    """Requests a second; NULL: any number."""
    ordered: Mapped[OrderPolicy | None] = mapped_column(String, default=None)
    """One delivery at a time, in the order of acceptance; NULL: all at once."""
    order_key: Mapped[str | None] = mapped_column(EncryptedText("webhooks.order_key"), default=None)
    """If ordered: the CEL expression of the key within which events are ordered. NULL: all events are."""
    enabled: Mapped[bool] = mapped_column(default=True)
    disabled_reason: Mapped[str | None] = mapped_column(default=None)
    disabled_at: Mapped[datetime | None] = mapped_column(default=None)
    paused_at: Mapped[datetime | None] = mapped_column(default=None)
    suspended: Mapped[bool | None] = mapped_column(default=None)
    """It is paused because its tenant is suspended; NULL: it is not."""
    disable_after: Mapped[float | None] = mapped_column(default=None)
    """Seconds of failures after which the webhook is disabled; NULL: the setting applies."""
    alert_after: Mapped[AlertAfter | None] = mapped_column(default=None)
    """When it counts as failing; NULL: the setting applies."""
    failing: Mapped[dict[str, Failure]] = mapped_column(
        EncryptedJson("webhooks.failing", ElementJson(dict[str, Failure])), default_factory=dict, nullable=True
    )
    """The targets whose latest attempt has failed: `webhook`, `email.1`, … Replace it with `set_failing` only."""
    unhealthy_since: Mapped[datetime | None] = mapped_column(default=None)
    """The first of their failures; NULL: there are none."""
    failing_from: Mapped[datetime | None] = mapped_column(default=None)
    """From when on it is `failing` rather than `degraded`."""
    url_failing_since: Mapped[datetime | None] = mapped_column("failing_since", default=None)
    """The first of the URL's failures in a row, since it was set, enabled or resumed: the clock of `disable_after`."""
    url_failures: Mapped[int | None] = mapped_column("failures", default=None)
    """Their number; NULL is none."""
    timeouts: Mapped[int | None] = mapped_column(default=None)
    """The URL's timeouts in a row; NULL is none."""
    last_success_at: Mapped[datetime | None] = mapped_column(default=None)
    """Accurate to a minute."""
    slow_at: Mapped[datetime | None] = mapped_column(default=None)
    """When attempts have last taken over a second, not just one of many; accurate to a minute."""
    slow_ms: Mapped[float | None] = mapped_column(default=None)
    """How long such an attempt took; NULL: a later one was quick."""
    slow_after: Mapped[float | None] = mapped_column(default=None)
    """Seconds from which on its requests are slow; NULL: `SLOW_AFTER`."""
    throttled_until: Mapped[datetime | None] = mapped_column(default=None)
    """No scheduled request is made before this time: the receiver has named it, or was busy (429, 502, 504)."""
    next_slot_at: Mapped[float | None] = mapped_column(default=None)
    """The next time that no request has reserved, in Unix seconds. NULL: no time is reserved."""
    metadata_: Mapped[dict[str, str]] = mapped_column("metadata", default_factory=dict)
    payload: Mapped[Payload | None] = mapped_column(
        EncryptedJson("webhooks.payload", ElementJson(Payload)), default=None
    )
    filter: Mapped[str | None] = mapped_column(EncryptedText("webhooks.filter"), default=None)
    filter_errors: Mapped[int | None] = mapped_column(default=None)
    """Events that were not sent because the filter failed."""
    filter_error: Mapped[str | None] = mapped_column(EncryptedText("webhooks.filter_error"), default=None)
    """The filter's latest error."""
    targets: Mapped[Targets] = mapped_column(
        EncryptedJson("webhooks.targets", TargetsJson()), default_factory=dict, nullable=True
    )
    """All but its URL."""
    on_failure: Mapped[OnFailure | None] = mapped_column(
        EncryptedJson("webhooks.on_failure", ElementJson(OnFailure)), default=None
    )
    alert: Mapped[AlertState | None] = mapped_column(default=None)
    incident: Mapped[IncidentState | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default_factory=utc_now)

    patterns: Mapped[list[WebhookPattern]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True, lazy="raise", init=False
    )

    @validates("events")
    def _index(self, _: str, events: list[str]) -> list[str]:
        """Keep the rows of `webhook_patterns` equal to `events`."""
        self.patterns = [WebhookPattern(tenant=self.tenant, pattern=pattern) for pattern in dict.fromkeys(events)]
        return events

    @property
    def target(self) -> str:
        """The URL for display, without user, password, query and fragment, which can be secrets."""
        return without_secrets(self.url)

    @property
    def is_hanging(self) -> bool:
        """Whether the latest requests to its URL have timed out."""
        return is_hanging(self.timeouts)

    @property
    def is_disabled_for_failing(self) -> bool:
        """Whether a probe that succeeds enables it."""
        return not self.enabled and self.disabled_reason == "failing"

    @property
    def current_rate(self) -> float | None:
        """Requests a second that the webhook accepts at present; None: any number."""
        return rate_at_present(self.rate_limit, self.timeouts)

    @property
    def context(self) -> WebhookContext:
        """The webhook as its templates see it, without secrets."""
        return WebhookContext(self.id, self.name, self.metadata_)

    @property
    def previous_secrets(self) -> list[str]:
        return self.previous_secret.split() if self.previous_secret else []

    def signing_secrets(self, now: datetime) -> list[str]:
        """Return the keys that sign at this time; during the grace period after a rotation, also previous ones."""
        in_grace = self.previous_secret_expires_at is not None and now < self.previous_secret_expires_at
        return [self.secret, *(self.previous_secrets if in_grace else ())]


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def is_hanging(timeouts: int | None) -> bool:
    """Return whether a webhook with this number of timeouts in a row is asked less often."""
    return (timeouts or 0) >= HANGING_AFTER


def rate_at_present(rate_limit: float | None, timeouts: int | None) -> float | None:
    """Return the requests a second that a webhook with this limit and these timeouts accepts; None: any number."""
    if not is_hanging(timeouts):
        return rate_limit
    return min(HANGING_RATE, rate_limit or HANGING_RATE)


class Tenant(Base, kw_only=True, eq=False, repr=False):
    """A customer. Its attributes from `retry` on are those of webhooks that are registered without them."""

    __tablename__ = "tenants"
    __table_args__ = (Index("ix_tenants_created_at", "created_at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="")
    metadata_: Mapped[dict[str, str]] = mapped_column("metadata", default_factory=dict)
    rate_limit: Mapped[str | None] = mapped_column(default=None)
    """Events that a process accepts, as `100/second`; NULL: any number."""
    suspended_at: Mapped[datetime | None] = mapped_column(default=None)
    reason: Mapped[str] = mapped_column(default="")
    """Why it is suspended."""
    deleted_at: Mapped[datetime | None] = mapped_column(default=None)
    """When it was removed with all that it had; NULL: it was not. What only names it does not add it again."""
    retry: Mapped[RetryPolicy | None] = mapped_column(default=None)
    on_failure: Mapped[OnFailure | None] = mapped_column(
        EncryptedJson("tenants.on_failure", ElementJson(OnFailure)), default=None
    )
    alert_after: Mapped[AlertAfter | None] = mapped_column(default=None)
    signature_scheme: Mapped[str | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default_factory=utc_now)


class Installation(Base, kw_only=True, eq=False):
    """What this registry is, in one row. The namespace has its id too (`hookkeeper.temporal.server.installation`)."""

    __tablename__ = "installation"

    id: Mapped[str] = mapped_column(primary_key=True)
    namespace: Mapped[str | None] = mapped_column(default=None)
    """The namespace that it was joined to; NULL: none yet."""


class EventType(Base, kw_only=True, eq=False):
    """An entry of the catalogue: the meaning of an event type, and the schema of its data."""

    __tablename__ = "event_types"

    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str] = mapped_column(default="")
    schema: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    """JSON Schema 2020-12 of the data; None: any data is valid."""
    examples: Mapped[list[Any]] = mapped_column(default_factory=list)
    archived: Mapped[bool] = mapped_column(default=False)
    """New events of this type are refused."""
    search_keys: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True), default=None)
    """Paths in the data whose values events are searched by; NULL: none."""
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default_factory=utc_now)


class TenantSearchKeys(Base, kw_only=True, eq=False):
    """Paths in the data by whose values a tenant's events of all types are searched."""

    __tablename__ = "search_keys"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    paths: Mapped[list[str]]


class Suppression(Base, kw_only=True, eq=False):
    """An address that receives no emails from a tenant's webhooks."""

    __tablename__ = "suppressions"
    __table_args__ = (
        Index("ix_suppressions_created_at", "created_at", "tenant", "address_token"),
        Index("ix_suppressions_tenant_reason", "tenant", "reason", "created_at"),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    address_token: Mapped[str] = mapped_column(primary_key=True, init=False)
    """The text by which the address is searched: the address itself, or its HMAC in an encrypted registry."""
    address: Mapped[str] = mapped_column(EncryptedText("suppressions.address"))
    """In lower case."""
    reason: Mapped[str]
    """`bounced`, `spam_report` or `manual`."""
    detail: Mapped[str] = mapped_column(EncryptedText("suppressions.detail"), default="")
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
