"""Reports of SendGrid about sent emails: verify and read them, suppress addresses, record them with their deliveries.

The signature is ECDSA with SHA-256 over the timestamp and the body (Twilio, "Getting Started with the Event Webhook
Security Features"); the events are those of Twilio's "Event Webhook Reference".
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hookkeeper.content.text import truncate
from hookkeeper.messages.event import Receipt, ReceiptKind
from hookkeeper.registry.models import Suppression, Webhook
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.registry.suppressions import Suppressions
from hookkeeper.registry.webhooks.health import LOST, MAX_TEXT, AttemptResult, HealthChange
from hookkeeper.registry.webhooks.targets import part_of
from hookkeeper.services.fields import EVENT_ID, TENANT_PATTERN
from hookkeeper.services.incidents import calls_after, incident_calls
from hookkeeper.settings import Settings
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

MAX_CONCURRENT_RUNS = 20
"""Runs that record reports at the same time."""
MAX_SKEW = timedelta(minutes=5)
MAX_AGE = timedelta(hours=24) + MAX_SKEW
"""SendGrid retries for up to 24 hours, and does not document whether it signs each retry again. A replayed request
does no harm: its events are recorded once."""
MAX_DETAIL = 256
KINDS: dict[str, ReceiptKind] = {
    "delivered": "delivered",
    "deferred": "deferred",
    "bounce": "bounced",
    "dropped": "dropped",
    "spamreport": "spam_report",
}
"""Other events are about the time before (`processed`) or after (`open`, `click`, …)."""
Suppressing = Literal["bounced", "spam_report"]
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

    @property
    def webhook_id(self) -> str:
        return self.delivery.partition(".")[0]

    @property
    def result(self) -> AttemptResult:
        """What it says of the health of its target."""
        receipt = self.receipt
        return AttemptResult(
            self.webhook_id,
            "failed" if receipt.kind in LOST else "succeeded",
            min(receipt.at, utc_now()),
            target=part_of(self.delivery),
            error=receipt.kind if receipt.kind in LOST else None,
            text=truncate(f"{receipt.address}: {receipt.detail}", MAX_TEXT),
            event_id=self.event_id,
        )


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


async def take(batch: ReportBatch, store: Store, gateway: Gateway, settings: Settings) -> int:
    """Suppress addresses, record the reports with their deliveries, and note the health of their targets.

    Return how many were recorded. Raises RegistryUnavailable, Unavailable: SendGrid sends the batch again.
    """
    await _suppress(batch.reports, store.suppressions, settings.max_suppressions_per_tenant)
    recorded = await _record(batch.reports, gateway)
    await _note_health(batch.reports, store, gateway, settings)
    return recorded


async def _suppress(reports: list[Report], suppressions: Suppressions, at_most: int) -> None:
    """Suppress addresses, before a run records the report and retries."""
    rows = [
        Suppression(tenant=tenant, address=receipt.address, reason=reason, detail=receipt.detail)
        for tenant, _, _, receipt, reason in reports
        if reason
    ]
    await suppressions.add_reported(rows, at_most)


async def _record(reports: list[Report], gateway: Gateway) -> int:
    """Record the reports of each run in order; return how many were recorded. Stops at a failure: SendGrid retries."""
    slots = asyncio.Semaphore(MAX_CONCURRENT_RUNS)

    async def record(of_run: list[Report]) -> int:
        async with slots:
            return sum(
                [
                    await gateway.record_receipt(report.tenant, report.event_id, report.delivery, report.receipt)
                    for report in of_run
                ]
            )

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(record(of_run)) for of_run in _by_run(reports)]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return sum(task.result() for task in tasks)


async def _note_health(reports: list[Report], store: Store, gateway: Gateway, settings: Settings) -> None:
    """Let an email that will not arrive count as a failure of its target, and the next one that arrives end it."""
    lost = {report.webhook_id for report in reports if report.receipt.kind in LOST}
    arrived = {report.webhook_id for report in reports if report.receipt.kind == "delivered"}
    if not lost | arrived:
        return
    try:
        known = (await store.webhooks.many(lost | arrived)).readable
        results = [report.result for report in reports if _tells(report, known.get(report.webhook_id))]
        if results:
            changes = await store.health.record(results, settings.health_defaults)
            await _call_incidents(changes, known, gateway, settings)
    except RegistryUnavailable:
        if lost:
            raise
        # The next email that arrives tells as much: this one is not worth a repetition of the batch.


async def _call_incidents(
    changes: Sequence[HealthChange], known: Mapping[str, Webhook], gateway: Gateway, settings: Settings
) -> None:
    calls = incident_calls(gateway, settings)
    for webhook_id, call in calls_after(changes, known, utc_now()).items():
        await calls.make(known[webhook_id].tenant, {webhook_id: call}, known)


def _tells(report: Report, webhook: Webhook | None) -> bool:
    """Return whether a report changes the health of the webhook."""
    if webhook is None:
        return False
    is_failing = part_of(report.delivery) in webhook.failing
    return report.receipt.kind in LOST or (report.receipt.kind == "delivered" and is_failing)


def _by_run(reports: list[Report]) -> Iterable[list[Report]]:
    runs = defaultdict[tuple[str, str], list[Report]](list)
    for report in reports:
        runs[report.tenant, report.event_id].append(report)
    return runs.values()
