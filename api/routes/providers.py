"""Reports of SendGrid about sent emails. Requests are authenticated by signature, not by a key."""

import asyncio
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Request

from api.deps import GatewayDep, SettingsDep, StoreDep
from api.problems import Malformed, Unauthorized, responses
from api.requests import StrictRoute
from hookkeeper.services.errors import NotFound
from hookkeeper.services.fields import ResponseModel, with_examples
from hookkeeper.services.mail import reports as mail_reports
from hookkeeper.services.mail.reports import NotSigned, ReportBatch
from hookkeeper.times import utc_now

MAX_BYTES = 2 * 1024 * 1024
"""Bytes of one batch; SendGrid's are smaller than 1 MB."""
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
    recorded = await mail_reports.take(batch, store, gateway, settings)
    ignored = batch.ignored + len(batch.reports) - recorded
    log.info("sendgrid events", recorded=recorded, ignored=ignored)
    return ReportsRecorded(recorded=recorded, ignored=ignored)


async def _signed_body(request: Request, key: str | None, signature: str, timestamp: str) -> bytes:
    if key is None:
        raise NotFound("HOOKKEEPER_SENDGRID_VERIFICATION_KEY is not set: events of SendGrid are not accepted.")
    try:
        mail_reports.check_time(timestamp, utc_now())
        body = await request.body()
        # In a thread: the first call imports the package.
        await asyncio.to_thread(mail_reports.check_signature, key, signature, timestamp, body)
    except NotSigned as refusal:
        log.warning("sendgrid events refused", detail=str(refusal))
        raise Unauthorized(str(refusal), headers={"www-authenticate": "Signature"}) from None
    return body


def _read(body: bytes) -> ReportBatch:
    try:
        return mail_reports.read(body)
    except ValueError as error:
        raise Malformed("The body is not a JSON array of events.") from error
