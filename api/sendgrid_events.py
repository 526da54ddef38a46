"""Verify the signature of SendGrid's event webhook, and read its events about sent emails. Pure.

The signature is ECDSA with SHA-256 over the timestamp and the body (Twilio, "Getting Started with the Event Webhook
Security Features"); the events are those of Twilio's "Event Webhook Reference".
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hookkeeper.messages.event import Receipt, ReceiptKind
from hookkeeper.services.fields import EVENT_ID, TENANT_PATTERN

MAX_SKEW = timedelta(minutes=5)
MAX_AGE = timedelta(hours=24) + MAX_SKEW
"""SendGrid retries for up to 24 hours, and does not document whether it signs each retry again. A replayed request
does no harm: its events are recorded once."""
MAX_DETAIL = 256

Suppressing = Literal["bounced", "spam_report"]

KINDS: dict[str, ReceiptKind] = {
    "delivered": "delivered",
    "deferred": "deferred",
    "bounce": "bounced",
    "dropped": "dropped",
    "spamreport": "spam_report",
}
"""Other events are about the time before (`processed`) or after (`open`, `click`, …)."""
DROPPED_FOR: dict[str, Suppressing] = {"bounced address": "bounced", "spam reporting address": "spam_report"}
"""SendGrid's own suppressions, by the `reason` of a `dropped` event."""


class NotSigned(Exception):
    """The request is not signed by SendGrid; `str()` is the reason."""


class Report(NamedTuple):
    """SendGrid's report about a sent email."""

    tenant: str
    event_id: str
    delivery: str
    receipt: Receipt
    suppressing: Suppressing | None
    """Why the address should get no more emails; None if it may."""


class ReportBatch(NamedTuple):
    reports: list[Report]
    """Oldest first, each once."""
    ignored: int


class _Event(BaseModel):
    """The fields of an event that Hookkeeper reads.

    Custom arguments are mixed with SendGrid's own fields, which include an `attempt`: hence the prefix.
    """

    model_config = ConfigDict(extra="ignore")

    event: str
    type: str | None = None
    sg_event_id: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]
    timestamp: Annotated[int, Field(ge=0, le=253402300799)]
    email: Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f]{1,320}$")]
    reason: str | None = None
    response: str | None = None
    tenant: Annotated[str, Field(pattern=TENANT_PATTERN, alias="hookkeeper_tenant")]
    event_id: Annotated[str, Field(pattern=EVENT_ID, alias="hookkeeper_event_id")]
    delivery: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,256}$", alias="hookkeeper_delivery")]
    attempt: Annotated[int, Field(ge=1, le=1_000_000, alias="hookkeeper_attempt")]


def check_time(timestamp: str, now: datetime) -> None:
    """Raise NotSigned unless the timestamp is one that SendGrid would send now: Unix seconds."""
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 12):
        raise NotSigned("There is no timestamp.")
    age = now - datetime.fromtimestamp(int(timestamp), UTC)
    if not -MAX_SKEW <= age <= MAX_AGE:
        raise NotSigned("The timestamp is too old or in the future.")


def check_signature(verification_key: str, signature: str, timestamp: str, body: bytes) -> None:
    """Raise NotSigned unless the key's owner has signed timestamp and body."""
    webhook = _webhook(verification_key)
    try:
        signed = webhook.verify_signature(body.decode(), signature, timestamp)
    except ValueError:  # no UTF-8, no base64
        signed = False
    if not signed:
        raise NotSigned("The signature does not match the body.")


def read(body: bytes) -> ReportBatch:
    """Read a batch. Raises ValueError if it is not a JSON array; other senders' and invalid events are ignored."""
    try:
        events = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(events, list):
        raise ValueError("not an array")
    reports = {report.receipt.id: report for event in events if (report := _report(event))}
    return ReportBatch(sorted(reports.values(), key=lambda report: report.receipt.at), len(events) - len(reports))


def _webhook(verification_key: str) -> Any:
    from sendgrid.helpers.eventwebhook import EventWebhook  # type: ignore[import-untyped]

    try:
        webhook = EventWebhook(verification_key.strip())
    except (ValueError, UnsupportedAlgorithm):
        webhook = None
    if webhook is None or not isinstance(webhook.public_key, EllipticCurvePublicKey):
        raise NotSigned("HOOKKEEPER_SENDGRID_VERIFICATION_KEY is not a valid key of SendGrid.")
    return webhook


def _report(raw: Any) -> Report | None:
    try:
        event = _Event.model_validate(raw)
    except ValidationError:
        return None
    if (kind := KINDS.get(event.event)) is None:
        return None
    receipt = Receipt(
        id=event.sg_event_id,
        attempt=event.attempt,
        address=event.email.lower(),
        kind=kind,
        at=datetime.fromtimestamp(event.timestamp, UTC),
        detail=_detail(event.reason or event.response or ""),
    )
    return Report(event.tenant, event.event_id, event.delivery, receipt, _suppressing(event))


def _suppressing(event: _Event) -> Suppressing | None:
    """Return why the address is suppressed; None for temporary errors, such as a `bounce` of type `blocked`."""
    match event.event:
        case "bounce":
            return "bounced" if event.type == "bounce" else None
        case "spamreport":
            return "spam_report"
        case "dropped":
            return DROPPED_FOR.get((event.reason or "").lower())
    return None


def _detail(text: str) -> str:
    """Return the start of a text as one line of printable characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())[:MAX_DETAIL]
