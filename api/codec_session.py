"""The cookie of an operator who reads payloads in the Temporal web UI: proof that the admin key was entered here.

It holds no key, only until when it is good and a MAC of that: all API processes take it, none has to remember it, and a
new admin key ends it.
"""

import hashlib
import hmac
from datetime import datetime, timedelta

COOKIE = "hookkeeper_codec"
SESSION_DURATION = timedelta(hours=12)


def make_token(admin_key: str, now: datetime) -> str:
    """Make a cookie's value that is good from now on for `SESSION_DURATION`."""
    until = str(int((now + SESSION_DURATION).timestamp()))
    return f"{until}.{_mac(admin_key, until)}"


def is_good(token: str, admin_key: str, now: datetime) -> bool:
    """Tell whether we made the token, with this admin key, and its time is not over."""
    until, _, mac = token.partition(".")
    if not hmac.compare_digest(mac.encode(), _mac(admin_key, until).encode()):
        return False
    return now.timestamp() < int(until)


def _mac(admin_key: str, until: str) -> str:
    key = hashlib.sha256(b"hookkeeper codec session\0" + admin_key.encode()).digest()
    return hmac.new(key, until.encode(), hashlib.sha256).hexdigest()
