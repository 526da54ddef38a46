"""A receiver that verifies the signature over the received bytes, then answers.

A request without signature headers is a notification, because notifications are not signed.
"""

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from hookkeeper.crypto import signing_keys

MAX_BODY = 4 * 1024 * 1024
SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
"""Headers of a webhook."""
TOLERANCE = 300
"""Seconds that the timestamp may be off (Standard Webhooks 1.0.0, "Verifying webhook authenticity")."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request, and the status of its response."""

    number: int
    method: str
    path: str
    channel: Literal["webhook", "notification"]
    webhook_id: str
    timestamp: str
    body: bytes
    verified: bool | None
    """None: there was no key, or no signature."""
    status: int


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Responses: 503 to the first `fail` webhooks, `status` to all other requests, each after `delay` seconds."""

    fail: int = 0
    status: int = 200
    delay: float = 0.0


FindKeys = Callable[[], Awaitable[list[str]]]


@asynccontextmanager
async def receiving(
    port: int, behaviour: Behaviour, find_keys: FindKeys, on_request: Callable[[Received], None]
) -> AsyncIterator[int]:
    """Serve on the loopback address until the block ends, and yield the port; port 0 selects a free one."""
    count = webhooks = 0

    async def receive(request: web.Request) -> web.Response:
        nonlocal count, webhooks
        is_webhook = any(name in request.headers for name in SIGNATURE_HEADERS)
        count, webhooks = count + 1, webhooks + is_webhook
        number, fails, body = count, is_webhook and webhooks <= behaviour.fail, await request.read()
        verified = verify(await find_keys(), request.headers, body) if is_webhook else None
        await asyncio.sleep(behaviour.delay)
        status, text = _response(verified, fails, behaviour)
        on_request(
            Received(
                number=number,
                method=request.method,
                path=request.path,
                channel="webhook" if is_webhook else "notification",
                webhook_id=request.headers.get("webhook-id", ""),
                timestamp=request.headers.get("webhook-timestamp", ""),
                body=body,
                verified=verified,
                status=status,
            )
        )
        return web.Response(status=status, text=text)

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def check_key(key: str) -> None:
    """Raise ValueError, with a sentence for users, if the key cannot verify signatures."""
    if key.startswith(signing_keys.PUBLIC):
        _public_key(key)
    else:
        signing_keys.check_secret(key)


def verify(secrets: list[str], headers: Mapping[str, str], body: bytes) -> bool | None:
    """Return whether one of the keys verifies the signature; None without keys."""
    if not secrets:
        return None
    return any(_verifies(secret, headers, body) for secret in secrets)


def _verifies(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    if not secret.startswith((signing_keys.ASYMMETRIC, signing_keys.PUBLIC)):
        try:
            Webhook(secret).verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError):
            return False
        return True
    return _verifies_ed25519(secret, headers, body)


def _verifies_ed25519(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    key = _public_key(secret)
    timestamp = headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    content = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    for signature in headers.get("webhook-signature", "").split():
        version, _, encoded = signature.partition(",")
        try:
            if version == "v1a":
                key.verify(base64.b64decode(encoded), content)
                return True
        except (InvalidSignature, binascii.Error):
            continue
    return False


def _public_key(key: str) -> Ed25519PublicKey:
    public = key if key.startswith(signing_keys.PUBLIC) else signing_keys.public_key(key)
    try:
        return Ed25519PublicKey.from_public_bytes(
            base64.b64decode(public.removeprefix(signing_keys.PUBLIC), validate=True)
        )
    except ValueError:
        raise ValueError(f"a {signing_keys.PUBLIC} key contains 32 bytes in base64") from None


def _response(verified: bool | None, fails: bool, behaviour: Behaviour) -> tuple[int, str]:
    if verified is False:
        return 401, "wrong signature"
    if fails:
        return 503, "temporarily unavailable"
    return behaviour.status, "ok" if behaviour.status < 300 else "refused"
