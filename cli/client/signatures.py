"""Sign a request like a delivery, and verify it like a receiver."""

import hmac
import re
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import typer
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cli.console import Failed
from hookkeeper.crypto import signing_keys

SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
"""Headers of a signed request: id, timestamp and signature."""
TOLERANCE = 300
"""Seconds that the timestamp may be off (Standard Webhooks 1.0.0, "Verifying webhook authenticity")."""
MAX_SIGNATURES, MAX_HEADER = 10, 2048
"""Of a request, and characters of a header, as in the Python client."""


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
    message_id, stamp, text = (headers[name] for name in SIGNATURE_HEADERS)
    if not re.fullmatch("[0-9]{1,12}", stamp):
        raise Failed("webhook-timestamp is no number of seconds since 1970")
    if (off := abs(time.time() - int(stamp))) > TOLERANCE:
        raise Failed(f"webhook-timestamp is {off:,.0f} s off; receivers accept {TOLERANCE} s")
    if max(len(message_id), len(text)) > MAX_HEADER or len(signatures := text.split()) > MAX_SIGNATURES:
        raise Failed(f"webhook-id or webhook-signature is too long: receivers accept {MAX_SIGNATURES} signatures")
    content = f"{message_id}.{stamp}.".encode(errors="surrogatepass") + body
    if not any(_has_signed(secret, content, signatures) for secret in secrets):
        raise Failed("wrong signature: another key, id or timestamp, or the body is not the one that was signed")


def check_keys(secrets: list[str]) -> None:
    """Raise `BadParameter` for a key that cannot verify signatures."""
    for key in secrets:
        try:
            if key.startswith(signing_keys.PUBLIC):
                _public_key(key)
            else:
                signing_keys.check_secret(key)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--secret") from error


def verify(secrets: list[str], headers: Mapping[str, str], body: bytes) -> bool | None:
    """Return whether one of the keys verifies the signature; None without keys."""
    if not secrets:
        return None
    try:
        check_request(secrets, headers, body)
    except Failed:
        return False
    return True


def _has_signed(key: str, content: bytes, signatures: Sequence[str]) -> bool:
    """Return whether one of the signatures is of this key. Anybody can send many: an HMAC is computed once."""
    try:
        if not key.startswith((signing_keys.ASYMMETRIC, signing_keys.PUBLIC)):
            expected = hmac.digest(signing_keys.hmac_key(key), content, "sha256")
            return any(hmac.compare_digest(signature, expected) for signature in _of_scheme("v1", signatures))
        public_key = _public_key(key)
    except ValueError:
        return False
    for signature in _of_scheme("v1a", signatures):
        with suppress(InvalidSignature):
            public_key.verify(signature, content)
            return True
    return False


def _of_scheme(scheme: str, signatures: Sequence[str]) -> Iterator[bytes]:
    for each in signatures:
        kind, _, text = each.partition(",")
        if kind == scheme:
            with suppress(ValueError):
                yield b64decode(text, validate=True)


def _public_key(key: str) -> Ed25519PublicKey:
    public = key if key.startswith(signing_keys.PUBLIC) else signing_keys.public_key(key)
    try:
        return Ed25519PublicKey.from_public_bytes(b64decode(public.removeprefix(signing_keys.PUBLIC), validate=True))
    except ValueError:
        raise ValueError(f"a {signing_keys.PUBLIC} key contains 32 bytes in base64") from None
