"""The outcome of an attempt. Pure.

An activity returns an outcome for everything that a receiver can do, and raises for internal errors only.
"""

import codecs
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from pydantic import Field

from hookkeeper.messages import Message
from hookkeeper.policy import DAY, OrderPolicy

MAX_RETRY_AFTER = DAY
BUSY_STATUS_CODES = frozenset({429, 502, 504})
"""A receiver that is overloaded."""
MAX_EXCERPT, MIN_EXCERPT = 4096, 128
MAX_HEADERS = 2048
"""Bytes of a response's headers that are kept."""
HEADER_FRAME = 6
"""Bytes of JSON around the name and the value of a header."""
MAX_BATCH = 1024 * 1024
"""Bytes that the outcomes of one batch may take in history; Temporal refuses a result of over 2 MB."""
REST_OF_OUTCOME = 1216
"""Bytes of an outcome besides its excerpt and headers, with a margin: ids, target, digest, error, a short schedule."""
JSON_GROWTH = 3
"""An ASCII-escaped `é` takes 6 bytes for 2; nothing that `excerpt` lets through grows more."""

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_CONTROLS = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - set(b"\n\t"), "\N{REPLACEMENT CHARACTER}")

Verdict = Literal[
    "succeeded",  # 2xx
    "failed",  # anything else: a later attempt may succeed
    "gone",  # 410: the receiver wants no further events
    "forbidden_address",  # requests to this address are not allowed
    "rejected",  # the provider will not accept it
    "bad_template",  # the webhook's template fails for this event
    "held",  # no request was made: the webhook is disabled or paused
    "deferred",  # no request was made: the webhook accepts no more at the moment
    "webhook_deleted",  # no request was made: the webhook, or this target of it, was deleted
]

NOT_MADE: frozenset[Verdict] = frozenset({"held", "deferred", "webhook_deleted"})
"""Verdicts of attempts in which no request was made."""


class ReservedTime(Message):
    """A time that a request has reserved at its webhook, which did not accept it at once.

    Messages name it `slot`. Everywhere else, a slot is a unit of concurrency.
    """

    at: datetime
    """By Temporal's clock."""
    rate: float
    """The webhook's requests a second when it was reserved."""
    missed: int = 0
    """Earlier reserved times that the same attempt has missed."""


class Outcome(Message):
    """One attempt of one delivery, as it is kept in history."""

    delivery: str
    verdict: Verdict
    target: str = ""
    """For people: the URL without query, user info and fragment."""
    started_at: datetime | None = None
    """None if no request was made: held, deferred, webhook_deleted."""
    duration_ms: float = 0.0
    connect_ms: float | None = None
    """Name lookup, connection and TLS handshake; None if the connection was reused, or the client cannot tell."""
    first_byte_ms: float | None = None
    """From the connection to the headers of the response."""
    request_digest: str | None = None
    """What was sent (`hookkeeper.services.webhooks.requests`); of requests to a webhook's URL only."""
    status_code: int | None = None
    error: str | None = None
    """One of `ERRORS`, `http_<status>` or `smtp_<code>`."""
    response_headers: dict[str, str] = Field(default_factory=dict)
    """Without secrets, and without those that say nothing about the receiver."""
    response_excerpt: str = ""
    retry_after: float | None = None
    """Seconds to wait, as requested by the receiver, with any status."""
    slot: ReservedTime | None = None
    """If deferred: the time reserved for it."""
    delays: tuple[float, ...] | None = None
    """Seconds before attempts 2, 3, … of the webhook's own policy at the time of the attempt; None: the default."""
    degraded: bool = False
    """The webhook hangs: it let the latest requests, before this one, run into their timeouts."""
    ordered: OrderPolicy | None = None
    """The webhook's order policy at the time of the attempt."""
    held_by: Literal["webhook_disabled", "webhook_paused"] = "webhook_disabled"
    """If held: why."""
    awaiting: tuple[str, ...] = ()
    """Addresses for which the provider will send receipts."""
    reached: tuple[str, ...] = ()
    """Digests of the addresses that have received the email while others have not."""
    alerts: bool = False
    """The webhook, or the operator, wants alerts."""


def verdict_of(status_code: int | None, error: str | None = None) -> Verdict:
    """Return the verdict. A status counts only for a complete response, whose `error` is None or `http_…`."""
    if error == "forbidden_address":
        return "forbidden_address"
    if status_code is None or not (error is None or error.startswith("http_")):
        return "failed"
    if 200 <= status_code < 300:
        return "succeeded"
    return "gone" if status_code == 410 else "failed"


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read `Retry-After` (RFC 9110, 10.2.3: seconds or a date) as 0 to 86,400 seconds from `now`, else None.

    A date that has passed is 0.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_RETRY_AFTER)
    date = parse_http_date(text)
    if date is None:
        return None
    return min(max((date - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def parse_http_date(value: str) -> datetime | None:
    """Read a date in any of the three forms of RFC 9110, 5.6.7; None for anything else."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)  # the asctime form names no zone and means UTC


def excerpt(body: bytes, limit: int) -> str:
    """Return the start of a response as text of at most `limit` bytes in UTF-8.

    Invalid UTF-8, and control characters except newline and tab, become U+FFFD; CR LF becomes a newline.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    # A body of this length was cut, maybe within a character, of which the first half is left out.
    text = decoder.decode(body[:limit], final=len(body) < limit)
    text = text.replace("\r\n", "\n").translate(_CONTROLS)
    return text.encode()[:limit].decode(errors="ignore")


def excerpt_limit(targets: int) -> int:
    """Return the bytes of response to keep for each target: 4,096, fewer from 54 targets on, at least 128.

    So the outcomes of a batch stay under 1 MiB as JSON, ASCII-escaped or not, for up to 650 targets.
    """
    return min(max(_text_limit(targets) - headers_limit(targets), MIN_EXCERPT), MAX_EXCERPT)


def headers_limit(targets: int) -> int:
    """Return the bytes of the response's headers to keep for each target: 2,048, fewer from 53 targets on."""
    return min(max(_text_limit(targets) - MIN_EXCERPT, 0) // 3, MAX_HEADERS)


def _text_limit(targets: int) -> int:
    share = MAX_BATCH // max(targets, 1) - REST_OF_OUTCOME
    return share // JSON_GROWTH
