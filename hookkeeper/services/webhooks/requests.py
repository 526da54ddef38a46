"""The request of a webhook for an event: the worker sends it, and the dashboard shows it."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import httpx

from hookkeeper.content.context import OutgoingEvent, context_of
from hookkeeper.content.headers import SIGNATURE, masked
from hookkeeper.content.payload import Body, body_of
from hookkeeper.content.sizes import RenderLimits
from hookkeeper.crypto.signing_keys import RequestChanges, changed_parts, request_digest, sign
from hookkeeper.egress.request import request_of
from hookkeeper.registry.models import Webhook
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.version import USER_AGENT


def signed_headers(webhook: Webhook, event_id: str, body: Body, now: datetime) -> dict[str, str]:
    """Return the headers of a request that is sent now. Its id is that of the event, its timestamp is its own."""
    timestamp = int(now.timestamp())
    signature = sign(webhook.signing_secrets(now), message_id=event_id, timestamp=timestamp, body=body.content)
    signed = {"webhook-id": event_id, "webhook-timestamp": str(timestamp), SIGNATURE: signature}
    return webhook.headers | body.headers | {"user-agent": USER_AGENT} | named_for(webhook, signed)


def named_for(webhook: Webhook, signed: dict[str, str]) -> dict[str, str]:
    """Return headers `webhook-…`, and the same as `svix-…` if the webhook's receiver reads these."""
    if webhook.payload is None or webhook.payload.format != "svix":
        return signed
    return signed | {name.replace("webhook-", "svix-"): value for name, value in signed.items()}


def secrets_of(webhook: Webhook, sent: Mapping[str, str]) -> dict[str, str]:
    """Return those headers of a request that are masked where a receiver repeats them."""
    return webhook.headers | {SIGNATURE: sent[SIGNATURE]}


def digest_of(webhook: Webhook, body: Body) -> str:
    """Return the digest of a request with this body, without the headers that each attempt makes."""
    return request_digest(webhook.secret, f"POST {webhook.url}", webhook.headers | body.headers, body.content)


def _changes(webhook: Webhook, body: Body, digest: str) -> RequestChanges:
    known = [webhook.secret, *webhook.previous_secrets]
    return changed_parts(digest, known, f"POST {webhook.url}", webhook.headers | body.headers, body.content)


class RebuiltRequest(NamedTuple):
    request: httpx.Request
    changes: RequestChanges | None
    """Since the request of an attempt; None if that attempt has no digest."""


async def rebuilt_request(
    webhook: Webhook, event: OutgoingEvent, sandbox: Sandbox, limits: RenderLimits, now: datetime, digest: str | None
) -> RebuiltRequest:
    """Make the request that an attempt would send now, to be shown: the webhook's own headers are masked.

    `digest`: of the attempt with which it is compared. Raises `ContentError` if the webhook's template fails,
    httpx.InvalidURL, SandboxUnavailable.
    """
    context = context_of(event, webhook.context)
    if webhook.payload:
        body = await sandbox.for_(event.tenant).call(body_of, webhook.payload, context, limits)
    else:
        body = body_of(None, context)
    headers = signed_headers(webhook, event.id, body, now) | masked(webhook.headers)
    request = request_of("POST", webhook.url, body.content, headers)
    return RebuiltRequest(request, _changes(webhook, body, digest) if digest else None)
