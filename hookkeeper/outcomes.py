"""What an attempt came to. Pure: facts in, an `Outcome` out.

An activity returns an outcome for whatever the receiver did, and raises only for our own faults.
"""

import codecs
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hookkeeper.policy import DAY, OrderPolicy

MAX_RETRY_AFTER = DAY
BUSY_STATUS_CODES = frozenset({429, 502, 504})
"""A receiver with so much to do that it takes no more."""
MAX_EXCERPT, MIN_EXCERPT = 4096, 128
MAX_BATCH = 1024 * 1024
"""Bytes that the outcomes of one batch may take in history; Temporal refuses a result of over 2 MB."""
REST_OF_OUTCOME = 1024
"""Bytes of an outcome besides its excerpt, generously: ids, target, error, a short schedule."""
JSON_GROWTH = 3
"""An ASCII-escaped `é` takes 6 bytes for 2; nothing that `excerpt` lets through grows more."""

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_CONTROLS = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - set(b"\n\t"), "\N{REPLACEMENT CHARACTER}")

Verdict = Literal[
    "succeeded",  # 2xx
    "failed",  # anything else that a later attempt may cure
    "gone",  # 410: the receiver wants no more, ever
    "forbidden_address",  # the address may not be reached from here
    "rejected",  # the provider will never take it
    "bad_template",  # what the webhook wants sent cannot be made of this event
    "held",  # no request was made: the webhook is disabled or paused
    "deferred",  # no request was made: the webhook takes no more at the moment
    "webhook_deleted",  # no request was made: there is no such webhook, or it has no such target, any more
]

NOT_MADE: frozenset[Verdict] = frozenset({"held", "deferred", "webhook_deleted"})
"""Verdicts of attempts in which no request was made."""


class Message(BaseModel):
    """Base of everything that travels through Temporal: frozen, and older code ignores newer fields.

    History is for ever, so a message only says what is there and judges nothing: a validator that comes to refuse an
    old payload would stop its run.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class Slot(Message):
    """A time that one request has reserved at its webhook, where timers keep the rate."""

    at: datetime
    """By Temporal's clock."""
    rate: float
    """Requests a second that were reserved then."""
    missed: int = 0
    """Earlier slots of the same attempt that it came too late for."""


class Outcome(Message):
    """One attempt of one delivery, as it is kept in history."""

    delivery: str
    verdict: Verdict
    target: str = ""
    """The URL as people see it: without query, user info or fragment."""
    started_at: datetime | None = None
    """None where no attempt is counted: held, deferred, webhook_deleted."""
    duration_ms: float = 0.0
    status_code: int | None = None
    error: str | None = None
    """`timeout`, `dns`, `connection_refused`, `connection_reset`, `tls`, `forbidden_address`, `protocol`,
    `http_<status>`, or what else a channel has to say: `smtp_<code>`, `bad_template`, `suppressed`."""
    response_excerpt: str = ""
    retry_after: float | None = None
    """Seconds the receiver asked us to wait, whatever the status; where deferred, seconds to wait."""
    slot: Slot | None = None
    """Where deferred: the time that is reserved for it; None where the limited queue keeps the rate."""
    delays: tuple[float, ...] | None = None
    """Seconds before attempts 2, 3, … by the webhook's own policy at the time of this attempt; None: the default."""
    rate: float | None = None
    """Requests a second that the webhook takes, by its limit or its health at the time; None: any number."""
    ordered: OrderPolicy | None = None
    """How the webhook wanted its events ordered at the time of this attempt."""
    held_by: Literal["webhook_disabled", "webhook_paused"] = "webhook_disabled"
    """Where held: why."""
    awaiting: tuple[str, ...] = ()
    """Addresses of which the provider will still say whether the email has arrived."""
    reached: tuple[str, ...] = ()
    """Digests of the addresses that have the email, although others have not yet."""
    alerts: bool = False
    """Somebody wants to be told when this delivery has failed."""
    recovered: bool = False
    """Somebody was told that it failed, and wants to be told that it works again."""
    disabled: bool = False
    """This attempt was one too many: its webhook has been disabled."""


def verdict_of(status_code: int | None, error: str | None = None) -> Verdict:
    """Judge an attempt. A status counts only for a complete answer, whose `error` is None or `http_…`."""
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
    """Give the start of a response as text of at most `limit` bytes in UTF-8.

    What is not UTF-8 and control characters but newline and tab become U+FFFD; CR LF is a newline.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    # A body as long as the limit was cut there, maybe within a character: half a one at the end is left out.
    text = decoder.decode(body[:limit], final=len(body) < limit)
    text = text.replace("\r\n", "\n").translate(_CONTROLS)
    return text.encode()[:limit].decode(errors="ignore")


def excerpt_limit(targets: int) -> int:
    """Say how many bytes of response to keep a target: 4,096, fewer from 79 targets on, never under 128.

    So the outcomes of a batch stay under 1 MiB as JSON, ASCII-escaped or not, at least up to 740 targets.
    """
    share = MAX_BATCH // max(targets, 1) - REST_OF_OUTCOME
    return min(max(share // JSON_GROWTH, MIN_EXCERPT), MAX_EXCERPT)
