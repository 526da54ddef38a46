"""The cookie of an operator who reads payloads in the Temporal web UI: proof that the admin key was entered here.

It contains its expiry time and a MAC of it, made with the admin key. So all API processes accept it, none stores it,
and a new admin key invalidates it.
"""

import hashlib
import hmac
from datetime import datetime, timedelta

COOKIE = "hookkeeper_codec"
SESSION_DURATION = timedelta(hours=12)


def make_token(admin_key: str, now: datetime) -> str:
    """Return the value of a cookie that is valid for `SESSION_DURATION` from now on."""
    until = str(int((now + SESSION_DURATION).timestamp()))
    return f"{until}.{_mac(admin_key, until)}"


def is_good(token: str, admin_key: str, now: datetime) -> bool:
    """Return whether a token was made with this admin key and has not expired."""
    until, _, mac = token.partition(".")
    if not hmac.compare_digest(mac.encode(), _mac(admin_key, until).encode()):
        return False
    return now.timestamp() < int(until)


def _mac(admin_key: str, until: str) -> str:
    key = hashlib.sha256(b"hookkeeper codec session\0" + admin_key.encode()).digest()
    return hmac.new(key, until.encode(), hashlib.sha256).hexdigest()
