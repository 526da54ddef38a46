"""Signatures of Standard Webhooks 1.0.0, "Signature scheme". Pure.

The `standardwebhooks` library takes the body as text, so it cannot sign a body that is not UTF-8, and it does not
support ed25519. The tests verify these signatures with the library.
"""

import hmac
from base64 import b64encode
from collections.abc import Sequence

from hookkeeper.crypto import signing_keys


def sign(secrets: Sequence[str], *, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: one signature for each key, in the order of the keys.

    `timestamp` is in Unix seconds. Raises ValueError for no key or an invalid one.
    """
    if not secrets:
        raise ValueError("a webhook has at least one signing key")
    content = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(_signature(secret, content) for secret in secrets)


def _signature(secret: str, content: bytes) -> str:
    if signing_keys.is_asymmetric(secret):
        return "v1a," + b64encode(signing_keys.ed25519_key(secret).sign(content)).decode()
    return "v1," + b64encode(hmac.digest(signing_keys.hmac_key(secret), content, "sha256")).decode()
