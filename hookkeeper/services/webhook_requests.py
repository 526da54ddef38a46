"""The request of a webhook for an event: the worker sends it, and the dashboard shows it."""

from datetime import datetime

import httpx

from hookkeeper.content.context import OutgoingEvent, WebhookContext, context_of
from hookkeeper.content.headers import masked
from hookkeeper.content.payload import Body, body_of
from hookkeeper.content.sizes import RenderLimits
from hookkeeper.crypto.signing_keys import sign
from hookkeeper.egress.http import request_of
from hookkeeper.registry.models import Webhook
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.version import USER_AGENT


def signed_headers(webhook: Webhook, event_id: str, body: Body, user_agent: str, now: datetime) -> dict[str, str]:
    """Return the headers of a request that is sent now. Its id is that of the event, its timestamp is its own."""
    timestamp = int(now.timestamp())
    signature = sign(webhook.signing_secrets(now), message_id=event_id, timestamp=timestamp, body=body.content)
    return (
        webhook.headers
        | body.headers
        | {
            "user-agent": user_agent,
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature,
        }
    )


async def rebuilt_request(
    webhook: Webhook, event: OutgoingEvent, sandbox: Sandbox, limits: RenderLimits, now: datetime
) -> httpx.Request:
    """Make the request that an attempt would send now, to be shown: the webhook's own headers are masked.

    Raises `ContentError` if the webhook's template fails, httpx.InvalidURL, SandboxUnavailable.
    """
    context = context_of(event, WebhookContext(webhook.id, webhook.name, webhook.metadata_))
    if webhook.payload:
        body = await sandbox.for_(event.tenant).call(body_of, webhook.payload, context, limits)
    else:
        body = body_of(None, context)
    headers = signed_headers(webhook, event.id, body, USER_AGENT, now) | masked(webhook.headers)
    return request_of("POST", webhook.url, body.content, headers)
