"""Signing keys and signatures of Standard Webhooks 1.0.0, "Signature scheme", and digests of signed requests. Pure.

    whsec_<base64 of 24 to 64 random bytes>      symmetric, signs `v1` (HMAC-SHA256)
    whsk_<base64 of seed (32) + public (32)>     asymmetric, signs `v1a` (ed25519)
    whpk_<base64 of public (32)>                 what the owner of a `whsk_` key gives to receivers

The specification does not define the bytes of a `whsk_` key. Svix, and the specification's example, use seed and
public key; the Go reference library uses the seed only. Hookkeeper writes the first and accepts both.

The `standardwebhooks` library takes the body as text, so it cannot sign a body that is not UTF-8, and it does not
support ed25519. The tests verify the signatures with the library.

By the digest of a request, a later look can tell what has changed of it:

    <signing key>.<URL>.<headers>.<body>         base64url; 3, 6, 6 and 16 bytes

What differs at each attempt, signature and time, is left out. URL and headers can contain secrets, of which a plain
digest would let a reader of histories check guesses: theirs are keyed with the signing key, which no history has.
"""

import binascii
import hmac
import secrets
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Scheme = Literal["v1", "v1a"]
Part = Literal["signing key", "URL", "headers", "body"]

SYMMETRIC, ASYMMETRIC, PUBLIC = "whsec_", "whsk_", "whpk_"
MIN_BYTES, MAX_BYTES = 24, 64
"""Of a symmetric key ("Signature scheme": 192 to 512 bits)."""
SEED_BYTES = 32
KEY_BYTES, PART_BYTES, BODY_BYTES = 3, 6, 16


def new_secret(scheme: Scheme) -> str:
    """Make a random key for the scheme."""
    seed = secrets.token_bytes(SEED_BYTES)
    if scheme == "v1":
        return SYMMETRIC + b64encode(seed).decode()
    return ASYMMETRIC + b64encode(seed + _public_bytes(Ed25519PrivateKey.from_private_bytes(seed))).decode()


def sign(secrets: Sequence[str], *, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: one signature for each key, in the order of the keys.

    `timestamp` is in Unix seconds. Raises ValueError for no key or an invalid one.
    """
    if not secrets:
        raise ValueError("a webhook has at least one signing key")
    content = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(_signature(secret, content) for secret in secrets)


def check_secret(secret: str) -> None:
    """Raise ValueError for an invalid key, without repeating it."""
    if is_asymmetric(secret):
        ed25519_key(secret)
    else:
        hmac_key(secret)


def public_key(secret: str) -> str:
    """Return the `whpk_` key that verifies what a `whsk_` key signs. Raises ValueError for any other key."""
    return PUBLIC + b64encode(_public_bytes(ed25519_key(secret))).decode()


def is_asymmetric(secret: str) -> bool:
    return secret.startswith(ASYMMETRIC)


def hmac_key(secret: str) -> bytes:
    """Decode a `whsec_` key. Raises ValueError."""
    raw = _decode(secret, SYMMETRIC)
    if not MIN_BYTES <= len(raw) <= MAX_BYTES:
        raise ValueError(f"a {SYMMETRIC} key has {MIN_BYTES} to {MAX_BYTES} bytes, this one has {len(raw)}")
    return raw


def ed25519_key(secret: str) -> Ed25519PrivateKey:
    """Decode a `whsk_` key. Raises ValueError, also if its two halves do not match."""
    raw = _decode(secret, ASYMMETRIC)
    if len(raw) not in (SEED_BYTES, 2 * SEED_BYTES):
        raise ValueError(f"a {ASYMMETRIC} key has 64 bytes, seed and public key; this one has {len(raw)}")
    key = Ed25519PrivateKey.from_private_bytes(raw[:SEED_BYTES])
    if raw[SEED_BYTES:] not in (b"", _public_bytes(key)):
        raise ValueError(f"the public half of this {ASYMMETRIC} key does not belong to its private half")
    return key


def _signature(secret: str, content: bytes) -> str:
    if is_asymmetric(secret):
        return "v1a," + b64encode(ed25519_key(secret).sign(content)).decode()
    return "v1," + b64encode(hmac.digest(hmac_key(secret), content, "sha256")).decode()


def _decode(secret: str, prefix: str) -> bytes:
    if not secret.startswith(prefix):
        other = "" if prefix == ASYMMETRIC else f" or {ASYMMETRIC}"
        raise ValueError(f"the key does not start with {prefix}{other}")
    try:
        return b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"the part after {prefix} is not base64 (standard alphabet, padded)") from None


def _public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


class RequestChanges(NamedTuple):
    """What differs from an earlier request."""

    parts: tuple[Part, ...]
    is_complete: bool
    """False: the key of the earlier request is gone, so URL and headers cannot be compared."""


def request_digest(secret: str, url: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return the digest of a request that is signed with this key.

    `headers`: those of webhook and body, without those that each attempt makes.
    """
    lines = "\n".join(sorted(f"{name.lower()}:{value}" for name, value in headers.items()))
    keyed = (("key", "", KEY_BYTES), ("url", url, PART_BYTES), ("headers", lines, PART_BYTES))
    parts = [hmac.digest(secret.encode(), f"{name}:{text}".encode(), "sha256")[:size] for name, text, size in keyed]
    return ".".join(map(_encoded, (*parts, sha256(body).digest()[:BODY_BYTES])))


def changed_parts(
    digest: str, secrets: Sequence[str], url: str, headers: Mapping[str, str], body: bytes
) -> RequestChanges:
    """Return what differs from the request with this digest. `secrets`: the present signing key, and earlier ones."""
    key, *then = digest.split(".")
    by_key = {
        made[0]: made[1:] for made in (request_digest(secret, url, headers, body).split(".") for secret in secrets)
    }
    present = next(iter(by_key))
    names: tuple[Part, ...] = ("URL", "headers", "body")
    now = by_key.get(key, [*then[:2], by_key[present][2]])
    differing = tuple(name for name, before, after in zip(names, then, now, strict=True) if before != after)
    return RequestChanges(differing if key == present else ("signing key", *differing), key in by_key)


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
