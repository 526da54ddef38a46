import base64
import re
import time
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature  # pip install cryptography
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEY = "whpk_KEY"  # the public key: it is no secret
TOLERANCE = 300  # seconds
MAX_SIGNATURES = 10  # each costs a look at the whole body


def is_genuine(headers: Mapping[str, str], body: bytes) -> bool:
    """Take the body as it arrived, before it is parsed, and headers with names in lower case."""
    sent_at = headers.get("webhook-timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", sent_at) or abs(time.time() - int(sent_at)) > TOLERANCE:
        return False
    content = f"{headers.get('webhook-id')}.{sent_at}.".encode(errors="surrogatepass") + body
    signatures = headers.get("webhook-signature", "").split(" ", MAX_SIGNATURES)[:MAX_SIGNATURES]
    return any(is_signature(one.removeprefix("v1a,"), content) for one in signatures if one.startswith("v1a,"))


def is_signature(signature: str, content: bytes) -> bool:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(KEY.removeprefix("whpk_")))
    try:
        key.verify(base64.b64decode(signature), content)
    except (ValueError, InvalidSignature):
        return False
    return True
