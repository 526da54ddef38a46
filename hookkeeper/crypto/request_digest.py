"""A digest of a webhook's request, by which a later look can tell what has changed of it. Pure.

    <signing key>.<URL>.<headers>.<body>     base64url; 3, 6, 6 and 16 bytes

What differs at each attempt, signature and time, is left out. URL and headers can contain secrets, of which a plain
digest would let a reader of histories check guesses: theirs are keyed with the signing key, which no history has.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

Part = Literal["signing key", "URL", "headers", "body"]
KEY_BYTES, PART_BYTES, BODY_BYTES = 3, 6, 16


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
