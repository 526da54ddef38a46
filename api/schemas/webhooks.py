"""Requests about webhooks, and their signing keys. What a webhook has is in `hookkeeper.services.webhooks.fields`."""

from pydantic import Field

from hookkeeper.services.fields import EVENT_ID, EventId, RequestModel, ResponseModel, Secret, Time, with_examples
from hookkeeper.services.webhooks.fields import NewWebhook
from hookkeeper.services.webhooks.preview import SampleEvent
from hookkeeper.services.webhooks.webhooks import ROTATION_GRACE


class WebhookSecret(ResponseModel):
    """The signing key. For ed25519, receivers need only the public key."""

    secret: str
    public_key: str | None = None
    previous_secret_expires_at: Time | None = None
    """Until when the previous key signs too."""


class SecretRotation(RequestModel):
    model_config = with_examples({"grace": 3600})

    secret: Secret | None = None
    """The new key; by default a generated one."""
    grace: int = Field(ROTATION_GRACE, ge=0, le=30 * 86400, strict=True)
    """Seconds during which the previous key signs too."""
    end_previous: bool = Field(False, strict=True)
    """Rotate although the key before still signs, and end it now. Otherwise the answer is 409, unless `grace` is 0."""


class TestEventRequest(SampleEvent):
    id: EventId | None = None
    """Your id, which makes it safe to repeat the request. By default a generated id."""


class PreviewRequest(RequestModel):
    """Either a webhook that is not registered, or the id of a registered one."""

    model_config = with_examples(
        {
            "webhook": {"url": "https://acme.example/hook", "payload": {"static": {"source": "shop"}}},
            "event": {"type": "order.paid", "data": {"order": 4711}},
        }
    )

    webhook: NewWebhook | None = None
    webhook_id: str | None = Field(None, pattern=EVENT_ID)
    event: SampleEvent = Field(default_factory=SampleEvent)
