"""Webhooks, as the API takes and gives them."""

from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from api.fields import (
    EventPattern,
    EventType,
    Given,
    Headers,
    Line,
    MetadataText,
    Secret,
    Taken,
    TenantName,
    Text,
    Time,
    Url,
)
from elements.emails import Email
from elements.notifications import Notification
from elements.on_failure import OnFailure
from elements.payload import Payload
from elements.tls import Tls
from keys import Scheme
from links import DEFAULT_TENANT
from policy import OrderPolicy, RetryPolicy
from registry.health import Status


class WebhookFields(Taken):
    """What can be set when a webhook is made, and changed later."""

    name: Line = Field("", max_length=256)
    description: Text = Field("", max_length=4096)
    url: Url | None = None
    """Where the signed POST goes. A webhook has a URL, emails, or notifications."""
    events: list[EventPattern] = Field(default_factory=lambda: ["*"], min_length=1, max_length=100)
    """Types it listens to: a type, a type prefix with `.*`, or `*`."""
    filter: Text | None = Field(None, min_length=1, max_length=4096, examples=["event.data.amount >= 100"])
    """A CEL expression on `event`: only events for which it is true are sent."""
    payload: Payload | None = None
    """Shapes the body; null sends `{"id", "type", "timestamp", "data"}`."""
    emails: tuple[Email, ...] = Field((), max_length=10)
    """Messages that are sent for each event."""
    notifications: tuple[Notification, ...] = Field((), max_length=10)
    """Notes to services such as Slack, or calls of any HTTP API, for each event. URLs are masked when read back."""
    on_failure: OnFailure | None = None
    """Who is told when a delivery has failed, at most once an hour, when the webhook is disabled for that, and when it
    works again."""
    headers: Headers = Field(default_factory=dict)
    """Sent along with each delivery. Values are masked when read back."""
    tls: Tls | None = None
    """TLS of its own, for the URL alone: authorities to trust, a certificate to show. The key is masked."""
    retry: RetryPolicy | None = None
    """Null: ten attempts in about three days."""
    timeout: float = Field(15.0, ge=1, le=30, allow_inf_nan=False, strict=True)
    """Seconds for connect, response headers and body together."""
    rate_limit: float | None = Field(None, ge=0.01, le=1000, allow_inf_nan=False, strict=True)
    """Requests a second to the URL; null: any number. More wait their turn, which costs no attempt."""
    ordered: bool = Field(False, strict=True)
    """One event at a time to the URL, in the order in which they were accepted."""
    order_policy: OrderPolicy = "block"
    """Where ordered: with `block`, a failing event holds up those behind it until it is final; with `skip`, they go on
    after its first failed attempt."""
    disable_after: float | None = Field(None, ge=0, le=365 * 86400, allow_inf_nan=False, strict=True)
    """Seconds of nothing but failures after which the webhook is disabled; 0: never. Null: as the operator says."""
    enabled: bool = Field(True, strict=True)
    """Deliveries of a disabled webhook are held, not dropped."""
    metadata: dict[MetadataText, MetadataText] = Field(default_factory=dict, max_length=50)
    """Yours; shown again, never sent."""


class NewWebhook(WebhookFields):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant": "acme",
                    "url": "https://acme.example/hook",
                    "events": ["order.*"],
                    "retry": {"schedule": [5, 300]},
                }
            ]
        }
    )

    tenant: TenantName = DEFAULT_TENANT

    secret: Secret | None = None
    """The signing key: `whsec_…` (HMAC) or `whsk_…` (ed25519). Made where none is given."""
    signature_scheme: Scheme = "v1"
    """Kind of the key that is made: `v1` HMAC-SHA256, `v1a` ed25519."""

    @model_validator(mode="after")
    def _has_a_target(self) -> Self:
        if not (self.url or self.emails or self.notifications):
            raise ValueError("a webhook needs a url, emails or notifications")
        return self


class WebhookChanges(WebhookFields):
    """Only what is given is changed."""


class Health(Given):
    """How requests to the URL have been going."""

    status: Status
    """`throttled`: it has too much to do, and scheduled attempts wait. `degraded`: it does not answer in time, and gets
    two requests a second. `failing`: the latest request failed. `unknown`: there was none yet."""
    failing_since: Time | None
    """When the first of the failures was that no success has followed."""
    failures: int
    """In a row, about."""
    last_success_at: Time | None
    """To the minute."""
    throttled_until: Time | None
    """Null where that is over."""


class Webhook(Given):
    id: str
    tenant: str
    name: str
    description: str
    url: str | None
    events: list[str]
    filter: str | None
    filter_errors: int
    """Events that the filter failed for, and so were not sent, since it was last changed."""
    filter_error: str | None
    """What it said of the latest."""
    payload: Payload | None
    emails: tuple[Email, ...]
    notifications: tuple[Notification, ...]
    on_failure: OnFailure | None
    headers: dict[str, str]
    tls: Tls | None
    signature_scheme: Scheme
    retry: RetryPolicy | None
    timeout: float
    rate_limit: float | None
    ordered: bool
    order_policy: OrderPolicy
    disable_after: float | None
    health: Health
    enabled: bool
    disabled_reason: str | None
    """`gone`: the receiver answered 410. `failing`: it had only failed for too long. `manual`: somebody disabled it."""
    disabled_at: Time | None
    paused_at: Time | None
    """Set while the webhook is paused: its deliveries are held."""
    metadata: dict[str, str]
    created_at: Time
    updated_at: Time


class WebhookSecret(Given):
    """The signing key. For ed25519, receivers need the public key alone."""

    secret: str
    public_key: str | None = None
    previous_secret_expires_at: Time | None = None
    """Until then the previous key signs too."""


class WebhookWithSecret(Webhook):
    secret: str
    """Shown now, and by `GET /v1/webhooks/{id}/secret`."""
    public_key: str | None = None


class Rotation(Taken):
    secret: Secret | None = None
    """The new key; made where none is given."""
    grace: int = Field(86400, ge=0, le=30 * 86400, strict=True)
    """Seconds during which the old key signs as well."""


class SampleEvent(Taken):
    type: EventType = "hookkeeper.test"
    data: Any = Field(default_factory=lambda: {"message": "This is a test."})
    """The first example of the type in the catalogue where left out."""
