"""The cookies of browsers: proof that a key was entered here, without the key.

A cookie has a subject, the time at which it expires, and a MAC of both, made with the admin key. So all API processes
accept it, none stores it, and a new admin key invalidates it.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi import Request, Response

from hookkeeper.registry.tenants.portal import PortalSession
from hookkeeper.settings import Settings

SESSION_DURATION = timedelta(hours=12)
REMEMBERED = timedelta(days=1)
"""Time for which browsers keep the cookie of a session that has ended: a form that is sent then is not lost."""


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """A cookie of one purpose, which its name is."""

    name: str
    path: str
    duration: timedelta = SESSION_DURATION
    is_framed: bool = False
    """It works in a frame of another site, and the browser keeps one for each site that frames our pages."""

    def token(self, subject: str, settings: Settings, now: datetime) -> str:
        """Return the value of a cookie that is valid from now on. The subject contains no dot."""
        text = f"{subject}.{int((now + self.duration).timestamp())}"
        return f"{text}.{self._mac('session', text, settings)}"

    def subject(self, token: str, settings: Settings, now: datetime) -> str | None:
        """Return the subject of a token; None unless it was made with this admin key and has not expired."""
        subject, expires = self.issued(token, settings) or ("", 0)
        return subject if now.timestamp() < expires else None

    def issued(self, token: str, settings: Settings) -> tuple[str, int] | None:
        """Return subject and end of a token that was made with this admin key, also after its end; None for others."""
        text, _, mac = token.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac("session", text, settings).encode()):
            return None
        subject, _, until = text.rpartition(".")
        return subject, int(until)

    def of(self, request: Request) -> str:
        """Return the token that came with a request; empty without one."""
        return request.cookies.get(self.name, "")

    def proof(self, token: str, settings: Settings) -> str:
        """Return the hidden field of a form, which no other site can know (CSRF): it proves that we made the form."""
        return self._mac("form", token, settings)

    def is_proof(self, given: str, token: str, settings: Settings) -> bool:
        """Return whether a form was made for the session of this token."""
        return hmac.compare_digest(given.encode(), self.proof(token, settings).encode())

    def put(self, response: Response, token: str, settings: Settings, remembered: timedelta = timedelta()) -> None:
        """Set the cookie, which the browser keeps so long after it has expired. An empty token deletes it."""
        response.set_cookie(
            self.name,
            token,
            max_age=int((self.duration + remembered).total_seconds()) if token else 0,
            path=self.path,
            secure=self.is_framed or settings.public_url.startswith("https:"),
            httponly=True,
            samesite="none" if self.is_framed else "strict",
        )
        if self.is_framed:  # Starlette writes this attribute with Python 3.14 and later only
            name, value = response.raw_headers.pop()
            response.raw_headers.append((name, value + b"; Partitioned"))

    def _mac(self, purpose: str, text: str, settings: Settings) -> str:
        assert settings.admin_key is not None
        key = hashlib.sha256(f"{self.name} {purpose}\0{settings.admin_key.get_secret_value()}".encode()).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


SESSION = SessionCookie("hookkeeper_session", path="/")
"""The cookie of the dashboard. Its subject is the id of the key."""
FRAMED = SessionCookie("hookkeeper_frame", path="/", is_framed=True)
"""The cookie of the portal in a frame. Its subject is the id of the portal session."""
CODEC = SessionCookie("hookkeeper_codec", path="/codec")
"""The cookie of an operator who reads payloads in the Temporal web UI."""
SESSION_SCHEME = "CodecSession"
"""Its name in the OpenAPI document."""


def portal_of(request: Request) -> PortalSession | None:
    """Return the session of a customer, or the link that is being opened; None for a reader with a key."""
    portal: PortalSession | None = getattr(request.state, "portal", None)
    return portal


def session_cookie(request: Request) -> SessionCookie:
    """Return the cookie that has the session of a request. A browser has one: a new one ends the one before."""
    return FRAMED if FRAMED.of(request) else SESSION
