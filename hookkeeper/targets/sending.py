"""What a kind of target gets to make an attempt, and what it returns."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import httpx

from hookkeeper.content.context import OutgoingEvent
from hookkeeper.egress.http import HttpAnswer
from hookkeeper.egress.notifier import ServiceAnswer
from hookkeeper.mail.provider import MailAnswer, MailProvider
from hookkeeper.messages.batch import AttemptRequest
from hookkeeper.messages.outcomes import Outcome, Verdict
from hookkeeper.times import utc_now


@dataclass(frozen=True, slots=True)
class Clients:
    """What a worker sends with."""

    http: httpx.AsyncClient
    """It connects to allowed addresses only."""
    mail: MailProvider


@dataclass(frozen=True, slots=True)
class Timed:
    """An answer of a receiver that no client of Hookkeeper speaks to."""

    verdict: Verdict
    started_at: datetime
    duration_ms: float
    error: str | None = None
    """One of the `errors` of its kind."""
    status_code: int | None = None
    retry_after: float | None = None
    """Seconds."""
    connect_ms: float | None = None
    first_byte_ms: float | None = None


Answer = HttpAnswer | ServiceAnswer | MailAnswer | Timed
"""The result of a request."""


@dataclass(frozen=True, slots=True)
class Timer:
    """Measures an attempt, from its creation to its answer."""

    started_at: datetime = field(default_factory=utc_now)
    start: float = field(default_factory=time.perf_counter)

    def answer(self, verdict: Verdict, **facts: Any) -> Timed:
        return Timed(verdict, self.started_at, (time.perf_counter() - self.start) * 1000, **facts)


class OpenAttempt(Protocol):
    """An attempt that can be made."""

    @property
    def request(self) -> AttemptRequest: ...
    @property
    def event(self) -> OutgoingEvent: ...
    @property
    def timeout(self) -> float:
        """Seconds that a request may take."""

    @property
    def excerpt_limit(self) -> int:
        """Bytes of the response to keep."""

    @property
    def headers_limit(self) -> int:
        """Bytes of its headers to keep."""

    def outcome(self, answer: Answer, text: str, target: str, **more: Any) -> Outcome:
        """Return the outcome of a request. `text` is what the receiver said, and `target` is for display, both without
        secrets. `more` is what only some kinds know.
        """


class Sender(Protocol):
    """Makes the attempts of a kind. It is made with `Clients`."""

    async def send(self, item: Any, content: Any, attempt: OpenAttempt, waited: float) -> Outcome:
        """Send what was rendered of a target, and return what the receiver has made of it.

        Raises for internal errors only: they cost the delivery no attempt. `waited`: seconds waited for memory.
        """
