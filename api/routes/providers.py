"""Reports of email providers about sent emails. Requests are authenticated by signature, not by a key."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Request

from api.deps import GatewayDep, SettingsDep, StoreDep
from api.problems import Malformed, Unauthorized, responses
from api.requests import StrictRoute
from api.sendgrid_events import NotSigned, Report, ReportBatch, check_signature, check_time, read
from hookkeeper.registry.models import Suppression
from hookkeeper.registry.suppressions import Suppressions
from hookkeeper.services.errors import NotFound
from hookkeeper.services.fields import ResponseModel, with_examples
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

MAX_BYTES = 2 * 1024 * 1024
"""Bytes of one batch; SendGrid's are smaller than 1 MB."""
MAX_CONCURRENT_RUNS = 20
"""Runs that record reports at the same time."""
EXAMPLE = {"event": "delivered", "email": "ann@acme.example", "timestamp": 1767323051, "sg_event_id": "ZGVsaXZlcmVkLTA"}
log = structlog.get_logger("hookkeeper.api")


class ProviderRoute(StrictRoute):
    max_body_bytes = MAX_BYTES


router = APIRouter(prefix="/v1/providers", tags=["providers"], route_class=ProviderRoute)
SignatureHeader = Annotated[str, Header(alias="X-Twilio-Email-Event-Webhook-Signature")]
TimestampHeader = Annotated[str, Header(alias="X-Twilio-Email-Event-Webhook-Timestamp")]


class ReportsRecorded(ResponseModel):
    model_config = with_examples({"recorded": 2, "ignored": 1})

    recorded: int
    """Events that were recorded durably by the run of an email."""
    ignored: int
    """All others: of other emails, of unused types, repeated, or of a run that has ended."""


@router.post(
    "/sendgrid/events",
    summary="Receive SendGrid events",
    responses=responses(400, 401, 404, 413, 415, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": {"type": "object"}},
                    "examples": {"delivered": {"value": [EXAMPLE]}},
                }
            },
        }
    },
)
async def take_sendgrid_events(
    request: Request,
    gateway: GatewayDep,
    store: StoreDep,
    settings: SettingsDep,
    signature: SignatureHeader = "",
    timestamp: TimestampHeader = "",
) -> ReportsRecorded:
    """Receive events of SendGrid's signed event webhook: delivered, deferred, bounced, dropped, marked as spam.

    The signature takes the place of a key. 200 is sent only after all events are stored; after any other response,
    SendGrid retries for 24 hours.
    """
    body = await _signed_body(request, settings.sendgrid_verification_key, signature, timestamp)
    batch = _read(body)
    await _suppress(batch.reports, store.suppressions, settings.max_suppressions_per_tenant)
    recorded = await _record(batch.reports, gateway)
    ignored = batch.ignored + len(batch.reports) - recorded
    log.info("sendgrid events", recorded=recorded, ignored=ignored)
    return ReportsRecorded(recorded=recorded, ignored=ignored)


async def _signed_body(request: Request, key: str | None, signature: str, timestamp: str) -> bytes:
    if key is None:
        raise NotFound("HOOKKEEPER_SENDGRID_VERIFICATION_KEY is not set: events of SendGrid are not accepted.")
    try:
        check_time(timestamp, utc_now())
        body = await request.body()
        check_signature(key, signature, timestamp, body)
    except NotSigned as refusal:
        log.warning("sendgrid events refused", detail=str(refusal))
        raise Unauthorized(str(refusal), headers={"www-authenticate": "Signature"}) from None
    return body


def _read(body: bytes) -> ReportBatch:
    try:
        return read(body)
    except ValueError as error:
        raise Malformed("The body is not a JSON array of events.") from error


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


def _by_run(reports: list[Report]) -> Iterable[list[Report]]:
    runs = defaultdict[tuple[str, str], list[Report]](list)
    for report in reports:
        runs[report.tenant, report.event_id].append(report)
    return runs.values()
