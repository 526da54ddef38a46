"""What a webhook has, as it is given, changed and shown.

This is the one description: the OpenAPI document, the form of the dashboard and the options of the command line are
made of it. A new field needs a column in `hookkeeper.registry.models`, a migration, and the code that uses it.
"""

from types import GenericAlias
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from hookkeeper.content.notifications import OnFailure
from hookkeeper.content.payload import Payload
from hookkeeper.content.text import SECONDS
from hookkeeper.content.tls import Tls
from hookkeeper.crypto.signing_keys import Scheme
from hookkeeper.kind import Items, load
from hookkeeper.kinds import LISTS
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.policy import AlertAfter, HealthStatus, Order, OrderPolicy, RetryPolicy
from hookkeeper.services.fields import (
    SHOWN_AS_GIVEN,
    Channels,
    EventPattern,
    Explained,
    Headers,
    Line,
    MetadataText,
    Owned,
    RequestModel,
    ResponseModel,
    Secret,
    Shown,
    TenantName,
    Text,
    Time,
    Uid,
    Url,
    with_examples,
)
from hookkeeper.services.webhooks.targets import NEEDS_TARGET, has_target, with_lists

STEPS = {
    "Where and which events": (
        "tenant",
        "url",
        "name",
        "uid",
        "description",
        "events",
        "channels",
        "filter",
        "metadata",
        "enabled",
    ),
    "What is sent": ("payload", "headers", "signature_scheme", "secret", "tls", *(kind.field for kind, _ in LISTS)),
    "Behaviour": (
        "retry",
        "timeout",
        "rate_limit",
        "ordered",
        "order_policy",
        "alert_after",
        "slow_after",
        "disable_after",
        "on_failure",
    ),
}
"""The groups of fields in the form, and in the help of commands."""
MAX_ITEMS = 10
"""Targets of a kind."""


def _list_of(items: Items) -> Any:
    return GenericAlias(tuple, (load(items.model), ...)), Field((), max_length=MAX_ITEMS, description=items.help)


@with_lists(_list_of)
class WebhookFields(RequestModel):
    """What can be set when a webhook is made, and changed later."""

    name: Line = Field("", max_length=256, examples=["Order service"])
    uid: Uid | None = Field(None, title="UID", examples=["shop-orders"])
    """Your own id of the webhook, which no other of yours has. It can be used wherever the id is."""
    description: Text = Field("", max_length=4096)
    url: Url | None = Field(None, title="URL", examples=["https://acme.example/hook"])
    """The URL that receives the signed POST. A webhook needs a URL, emails or notifications."""
    events: list[EventPattern] = Field(
        default_factory=lambda: ["*"], min_length=1, max_length=100, examples=[["order.*", "invoice.paid"]]
    )
    """Patterns of event types: a type, a prefix with `.*`, or `*`, which is the default."""
    channels: Channels = ()
    """Only events that name one of these channels; by default events with any and without."""
    filter: Text | None = Field(None, min_length=1, max_length=4096, examples=["event.data.amount >= 100"])
    """A CEL expression on `event`. Only events for which it is true are sent."""
    payload: Payload | None = None
    """The format of the body. By default `{"id", "type", "timestamp", "data"}`."""
    on_failure: OnFailure | None = Field(None, title="Alerts")
    """Alerts: when the webhook is failing, will be disabled, was disabled, and works again; and when a delivery fails
    for good."""
    headers: Headers = Field(default_factory=dict, examples=[{"x-token": "…"}])
    """Headers to send with each delivery. Values are masked in responses."""
    tls: Tls | None = Field(None, title="TLS")
    """TLS settings for the URL: certificate authorities, a client certificate. The key is masked in responses."""
    retry: RetryPolicy | None = None
    """When failed attempts are retried. By default ten attempts in about three days."""
    timeout: float = Field(15.0, ge=1, le=30, allow_inf_nan=False, strict=True)
    """Seconds for connecting, response headers and body together."""
    rate_limit: float | None = Field(None, ge=0.01, le=1000, allow_inf_nan=False, strict=True)
    """Maximum requests per second to the URL, by default any number. Waiting does not count as an attempt."""
    ordered: Order = Field(False, examples=[{"key": "event.data.customer_id"}])
    """Deliver one event at a time to the URL, in the order of acceptance; with a key, one event of each key."""
    order_policy: OrderPolicy = "block"
    """For an ordered webhook. `block`: events wait until a failing event before them has succeeded or failed for
    good. `skip`: they wait only for its first failed attempt."""
    alert_after: AlertAfter | None = Field(None, examples=[{"attempts": 5, "seconds": 900}])
    """When the webhook is failing rather than degraded: after a number of failed attempts in a row, or a time since the
    first one. It counts from the next failed attempt on. By default the operator's setting."""
    slow_after: Annotated[float, SECONDS] | None = Field(
        None, ge=1, le=30, allow_inf_nan=False, strict=True, examples=[5.0]
    )
    """Seconds from which on requests count as slow, and so does the webhook. By default two."""
    disable_after: Annotated[float, SECONDS] | None = Field(
        None, ge=0, le=365 * 86400, allow_inf_nan=False, strict=True
    )
    """Seconds of failures only, after which the webhook is disabled; 0: never. By default the operator's setting."""
    enabled: bool = Field(True, strict=True)
    """Deliveries of a disabled webhook are held, not dropped."""
    metadata: dict[MetadataText, MetadataText] = Field(default_factory=dict, max_length=50, examples=[{"team": "shop"}])
    """Your own metadata. It is returned in responses and available to templates."""


class NewWebhook(WebhookFields):
    model_config = with_examples(
        {
            "tenant": "acme",
            "url": "https://acme.example/hook",
            "events": ["order.*"],
            "retry": {"schedule": [5, 300]},
        }
    )

    tenant: TenantName = Field(DEFAULT_TENANT, description="The customer that owns the webhook. By default `default`.")
    secret: Secret | None = None
    """The signing key: `whsec_…` (HMAC) or `whsk_…` (ed25519). By default a new key is generated."""
    signature_scheme: Scheme = "v1"
    """Kind of the generated key: `v1` for HMAC-SHA256, `v1a` for ed25519."""

    @model_validator(mode="after")
    def _has_a_target(self) -> Self:
        if not has_target(dict(self)):
            raise ValueError(NEEDS_TARGET)
        return self


class WebhookChanges(WebhookFields):
    """Only the fields that are sent are changed."""

    model_config = with_examples({"url": "https://acme.example/new-hook"}, {"enabled": True})


class FailingTarget(Explained):
    """A target of the webhook whose latest attempt has failed."""

    target: str
    """`webhook` for the URL; else `email.1`, `notification.2`, …; `filter` if the filter has failed on an event, which
    was not sent to this webhook."""
    since: Time
    """The first failed attempt since the latest success."""
    failures: int
    """Failed attempts in a row, about."""
    at: Time
    """The latest attempt."""
    status_code: int | None
    error: str | None
    text: str
    """The start of the response, or what the template lacks."""
    event_id: str
    """The event of that attempt."""


class WebhookHealth(ResponseModel):
    """The health of the webhook: that of the latest attempts of its URL, emails and notifications."""

    status: HealthStatus
    """`new`: no attempt was made yet. `healthy`: the latest attempt of every target has succeeded. `slow`: it has,
    but requests take longer than `slow_after`. `degraded`: the latest attempt of a target has failed. `failing`: a
    target has failed as often in a row, or for as long, as `alert_after` says, or its filter has failed on an event.
    `paused` and `disabled` take the place of the others."""
    failing_since: Time | None
    """The first of these failed attempts."""
    failures: int
    """Failed attempts in a row of the target with the most, about."""
    last_success_at: Time | None
    """To the minute."""
    slow_ms: float | None
    """How long the latest slow request to its URL took; null if requests take less than a second."""
    throttled_until: Time | None
    """The URL is overloaded, and scheduled attempts wait until then; null if it is not."""
    failing: list[FailingTarget]
    """The targets whose latest attempt has failed, the one that fails for the longest time first."""


class WebhookView(Shown, WebhookFields, Owned):
    model_config = SHOWN_AS_GIVEN

    signature_scheme: Scheme
    filter_errors: int
    """Events that were not sent because the filter failed, since its last change."""
    filter_error: str | None
    """The latest error of the filter."""
    health: WebhookHealth
    disabled_reason: str | None
    """`gone`: the receiver answered 410. `failing`: it failed for too long. `manual`: disabled through the API.
    `moving`: its tenant moves here from another cell, which has not delivered all earlier events yet."""
    disabled_at: Time | None
    paused_at: Time | None
    """When the webhook was paused; null if it is not paused."""
    created_at: Time
    updated_at: Time


class WebhookWithSecret(WebhookView):
    secret: str
    """The signing key. `GET /v1/webhooks/{id}/secret` shows it again."""
    public_key: str | None = None


SHOWN = WebhookWithSecret.model_fields.keys()
"""Fields of answers, some of which cannot be set."""
