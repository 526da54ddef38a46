"""Sign a request like a delivery, and verify it like a receiver."""

import base64
import binascii
import time
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from hookkeeper.cli.console import Failed
from hookkeeper.crypto import signing_keys

SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
"""Headers of a signed request: id, timestamp and signature."""
TOLERANCE = 300
"""Seconds that the timestamp may be off (Standard Webhooks 1.0.0, "Verifying webhook authenticity")."""


def signed_headers(secret: str, message_id: str, body: bytes, timestamp: int | None = None) -> dict[str, str]:
    """Return the headers of a request with this body, signed now or at `timestamp`. Raises `Failed` for a bad key."""
    stamp = int(time.time()) if timestamp is None else timestamp
    try:
        signature = signing_keys.sign([secret], message_id=message_id, timestamp=stamp, body=body)
    except ValueError as error:
        raise Failed(str(error)) from error
    return dict(zip(SIGNATURE_HEADERS, (message_id, str(stamp), signature), strict=True))


def check_request(secrets: list[str], headers: Mapping[str, str], body: bytes) -> None:
    """Raise `Failed`, with the reason, unless one of the keys verifies the request."""
    for name in SIGNATURE_HEADERS:
        if name not in headers:
            raise Failed(f"the header {name} is missing")
    stamp = headers["webhook-timestamp"]
    if not (stamp.isascii() and stamp.isdecimal()):
        raise Failed("webhook-timestamp is no number of seconds since 1970")
    if (off := abs(time.time() - int(stamp))) > TOLERANCE:
        raise Failed(f"webhook-timestamp is {off:,.0f} s off; receivers accept {TOLERANCE} s")
    if not verify(secrets, headers, body):
        raise Failed("wrong signature: another key, id or timestamp, or the body is not the one that was signed")


def check_key(key: str) -> None:
    """Raise ValueError, with a text for users, if the key cannot verify signatures."""
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
