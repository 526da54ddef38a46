import base64
import hmac
import re
import time
from collections.abc import Mapping

KEY = "whsec_KEY"
TOLERANCE = 300  # seconds


def is_genuine(headers: Mapping[str, str], body: bytes) -> bool:
    """Take the body as it arrived, before it is parsed, and headers with names in lower case."""
    sent_at = headers.get("webhook-timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", sent_at) or abs(time.time() - int(sent_at)) > TOLERANCE:
        return False
    content = f"{headers.get('webhook-id')}.{sent_at}.".encode(errors="surrogatepass") + body
    key = base64.b64decode(KEY.removeprefix("whsec_"))
    expected = b"v1," + base64.b64encode(hmac.digest(key, content, "sha256"))
    signatures = headers.get("webhook-signature", "").encode(errors="surrogatepass").split(b" ")
    return any(hmac.compare_digest(expected, signature) for signature in signatures)
