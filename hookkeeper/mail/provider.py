"""What every mail provider is given, and what it answers."""

import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from hookkeeper import outcomes
from hookkeeper.content.emails import RenderedEmail
from hookkeeper.content.mailboxes import Mailbox
from hookkeeper.times import utc_now

MAX_WORDS = 500
"""Bytes of a provider's own words that are kept."""

_SENDER = re.compile(
    r'("?(?P<name>[^<>"]*)"?\s*<)?(?P<address>[A-Za-z0-9.!#$%&\'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253})(?(1)>)'
)

Verdict = Literal[
    "succeeded",
    "failed",  # a later attempt may cure it
    "rejected",  # no later attempt will
]


@dataclass(frozen=True, slots=True)
class Tags:
    """Which attempt a letter is sent for: what a provider's own records are told, to find the way back."""

    tenant: str
    event_id: str
    event_type: str
    delivery: str
    attempt: int
    copy: str = ""
    """Names a sending that is no repetition of the first: an alert, or one that a person asked for.

    The same at each attempt of that sending, so that a receiver can tell a second copy from a second letter.
    """
    taken: frozenset[str] = frozenset()
    """Addresses, lower-cased, that have this sending from an earlier attempt: they are not written to again."""


@dataclass(frozen=True, slots=True)
class MailAnswer:
    """What one attempt came to."""

    verdict: Verdict
    started_at: datetime
    duration_ms: float
    status_code: int | None = None
    """SendGrid's HTTP status, or SMTP's reply code."""
    error: str | None = None
    """`http_<status>`, `smtp_<code>`, a result of `hookkeeper.egress.http.error_code`, or the provider module's own."""
    text: str = ""
    """For people: the provider's own words where it has some; short, without secrets."""
    retry_after: float | None = None
    """Seconds that the provider asks us to wait."""
    trackable: bool = False
    """The provider will tell of the letter's arrival."""
    taken: frozenset[str] = frozenset()
    """Addresses, lower-cased, that have it although it `failed`: the next attempt's tags are to name them."""
    left_out: frozenset[str] = frozenset()
    """Addresses, lower-cased, that it does not reach and never will."""


class MailProvider(Protocol):
    """Sends letters. Raises for our own faults only."""

    async def send(self, letter: RenderedEmail, tags: Tags) -> MailAnswer:
        """Make one attempt, of bounded time."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Started where an attempt starts; makes its answer."""

    started_at: datetime = field(default_factory=utc_now)
    start: float = field(default_factory=time.perf_counter)

    def answer(self, verdict: Verdict, **facts: Any) -> MailAnswer:
        return MailAnswer(verdict, self.started_at, (time.perf_counter() - self.start) * 1000, **facts)


class NoProvider:
    """Stands where no provider is set."""

    async def send(self, letter: RenderedEmail, tags: Tags) -> MailAnswer:
        """Send nothing, and say what to set."""
        text = "not sent: set HOOKKEEPER_SENDGRID_API_KEY, HOOKKEEPER_SMTP_URL or HOOKKEEPER_EMAIL_CAPTURE_DIR"
        return Clock().answer("failed", error="no_email_provider", text=text)


def sender_of(text: str) -> Mailbox:
    """Read the sender, an address or `Name <address>`, both ASCII but the name. Raises ValueError.

    The domain may be one that nobody could answer, such as localhost.
    """
    read = _SENDER.fullmatch(text.strip())
    if not read:
        raise ValueError(f"{text!r} is not a sender such as hooks@acme.example or Acme <hooks@acme.example>")
    return Mailbox(address=read["address"], name=(read["name"] or "").strip())


def without(letter: RenderedEmail, addresses: Collection[str]) -> RenderedEmail:
    """Give the letter as it is for all but these addresses, which are lower-cased."""
    kept = {
        field: tuple(mailbox for mailbox in getattr(letter, field) if mailbox.address.lower() not in addresses)
        for field in ("to", "cc", "bcc")
    }
    return letter.model_copy(update=kept)


def words(text: str, *secrets: str) -> str:
    """Give a provider's words as people may see them: clean, at most 500 bytes, each secret in them masked."""
    for secret in secrets:
        text = text.replace(secret, "********")
    return outcomes.excerpt(text.encode(errors="replace"), MAX_WORDS).strip()
