"""The interface of mail providers: their input and their result."""

import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from hookkeeper.content.emails import Mailbox, RenderedEmail
from hookkeeper.content.headers import MASK
from hookkeeper.findings import Finding, well
from hookkeeper.messages import outcomes
from hookkeeper.messages.outcomes import Verdict
from hookkeeper.times import utc_now

MAX_TEXT = 500
"""Maximum bytes of a provider's message that are kept."""

_SENDER = re.compile(
    r'("?(?P<name>[^<>"]*)"?\s*<)?(?P<address>[A-Za-z0-9.!#$%&\'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253})(?(1)>)'
)


@dataclass(frozen=True, slots=True)
class Tags:
    """Identifies the attempt. Passed to the provider so that its reports can be assigned."""

    tenant: str
    event_id: str
    event_type: str
    delivery: str
    attempt: int
    copy: str = ""
    """Identifies an alert or a redelivery; empty for the first delivery.

    The same for each attempt, so that a recipient can distinguish a duplicate from another email.
    """
    accepted: frozenset[str] = frozenset()
    """Addresses, in lower case, accepted in an earlier attempt. They are not sent to again."""


@dataclass(frozen=True, slots=True)
class MailAnswer:
    """The result of one attempt."""

    verdict: Verdict
    """`succeeded`, `failed` or `rejected`."""
    started_at: datetime
    duration_ms: float
    status_code: int | None = None
    """SendGrid's HTTP status, or SMTP's reply code."""
    error: str | None = None
    """`http_<status>`, `smtp_<code>`, a code of `hookkeeper.egress.http.error_code`, or one of the provider."""
    text: str = ""
    """The provider's message: short, without secrets."""
    retry_after: float | None = None
    """Seconds to wait, as the provider requests."""
    trackable: bool = False
    """The provider will report the arrival of the email."""
    accepted: frozenset[str] = frozenset()
    """Addresses, in lower case, accepted although the attempt `failed`. The next attempt's `Tags.accepted`."""
    excluded: frozenset[str] = frozenset()
    """Addresses, in lower case, that are suppressed or permanently refused."""
    connect_ms: float | None = None
    """As in `hookkeeper.egress.http.HttpAnswer`; so is the next one."""
    first_byte_ms: float | None = None


class MailProvider(Protocol):
    """Sends emails. Raises for internal errors only."""

    async def send(self, email: RenderedEmail, tags: Tags) -> MailAnswer:
        """Make one attempt, in limited time."""


class CheckedProvider(MailProvider, Protocol):
    """A provider as the settings choose it, which `hookkeeper doctor` checks."""

    async def check(self, now: datetime) -> Sequence[Finding]:
        """Find what prevents emails, without sending one."""


@dataclass(frozen=True, slots=True)
class AttemptTimer:
    """Measures an attempt, from its creation to its answer."""

    started_at: datetime = field(default_factory=utc_now)
    start: float = field(default_factory=time.perf_counter)

    def answer(self, verdict: Verdict, **facts: Any) -> MailAnswer:
        return MailAnswer(verdict, self.started_at, (time.perf_counter() - self.start) * 1000, **facts)


class NoProvider:
    """Used if no provider is configured."""

    async def send(self, email: RenderedEmail, tags: Tags) -> MailAnswer:
        """Send nothing and return which settings to set."""
        text = "not sent: set HOOKKEEPER_SENDGRID_API_KEY, HOOKKEEPER_SMTP_URL or HOOKKEEPER_EMAIL_CAPTURE_DIR"
        return AttemptTimer().answer("failed", error="no_email_provider", text=text)

    async def check(self, now: datetime) -> Sequence[Finding]:
        """Find nothing: webhooks and alerts need no email."""
        return well("no provider is set, so emails fail")


def parse_sender(text: str) -> Mailbox:
    """Parse the sender, an ASCII address or `Name <address>`. Raises ValueError.

    The domain need not be public: `localhost` is valid.
    """
    match = _SENDER.fullmatch(text.strip())
    if not match:
        raise ValueError(
            f"HOOKKEEPER_EMAIL_FROM: {text!r} is not a sender such as hooks@acme.example or Acme <hooks@acme.example>"
        )
    return Mailbox(address=match["address"], name=(match["name"] or "").strip())


def without(email: RenderedEmail, addresses: Collection[str]) -> RenderedEmail:
    """Return the email without these recipients, given in lower case."""
    kept = {
        field: tuple(mailbox for mailbox in getattr(email, field) if mailbox.address.lower() not in addresses)
        for field in ("to", "cc", "bcc")
    }
    return email.model_copy(update=kept)


def provider_text(text: str, *secrets: str) -> str:
    """Return a provider's message for display: printable, at most 500 bytes, secrets masked."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return outcomes.excerpt(text.encode(errors="replace"), MAX_TEXT).strip()
