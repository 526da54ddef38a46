"""The webhook channel: a signed POST to the webhook's URL."""

from datetime import UTC, datetime

import httpx
from temporalio import activity

from activities.delivery_batch import BatchRunner, PreparedAttempt, delays_of
from activities.health import HealthRecorder, clock_offset
from activities.rate_gate import RateGate
from activities.rendering import Renderer
from activities.webhook_concurrency import WebhookConcurrency
from hookkeeper import outcomes
from hookkeeper.content.payload import Body, Payload, body_of
from hookkeeper.crypto.signing_keys import sign
from hookkeeper.egress import http
from hookkeeper.egress.link import LocalLimitReached
from hookkeeper.egress.scrubbing import MARGIN, scrub_request
from hookkeeper.messages.batch import BatchResult, DeliveryBatch
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.models import Webhook


class WebhookActivities:
    def __init__(
        self,
        batches: BatchRunner,
        health: HealthRecorder,
        client: httpx.AsyncClient,
        renderer: Renderer,
        user_agent: str,
        concurrency: WebhookConcurrency,
        gate: RateGate,
    ) -> None:
        self._batches = batches
        self._health = health
        self._http = client
        self._renderer = renderer
        self._user_agent = user_agent
        self._concurrency = concurrency
        self._gate = gate

    @activity.defn
    async def deliver_webhooks(self, batch: DeliveryBatch) -> BatchResult:
        """Make every attempt of the batch; record the results in the health of its webhooks."""
        standard_body: list[Body] = []
        before: dict[str, Webhook] = {}
        offset, memory = clock_offset(), self._batches.memory

        async def send(attempt: PreparedAttempt) -> Outcome:
            if attempt.webhook.payload:
                return await self._send_payload(attempt, attempt.webhook.payload)
            standard_body[:] = standard_body or [body_of(None, attempt.context)]
            (body,) = standard_body
            async with memory.request(batch.tenant, body.size) as reservation:
                return await self._send(attempt, body, reservation.waited)

        async def make_attempt(attempt: PreparedAttempt) -> Outcome:
            request, webhook = attempt.request, attempt.webhook
            if not webhook.url:
                return Outcome(delivery=request.delivery, verdict="webhook_deleted")
            now = datetime.now(UTC) + offset
            if deferred := await self._gate.defer_by_rate(request, webhook, now, batch):
                return deferred
            before[webhook.id] = webhook
            with self._concurrency.request(webhook.id, limited=batch.limited) as is_within_limit:
                if not (is_within_limit or request.immediate):
                    return await self._gate.defer_by_concurrency(
                        request, webhook, now, self._concurrency.limit, limited=batch.limited
                    )
                try:
                    return await send(attempt)
                except LocalLimitReached:
                    if request.immediate:
                        raise  # it is not deferred: the activity is retried
                    return await self._gate.defer_by_tenant(request, webhook, datetime.now(UTC) + offset)

        async def record_health(batch: DeliveryBatch, result: BatchResult) -> BatchResult:
            return await self._health.record(batch, result, before, offset)

        return await self._batches.run(batch, make_attempt, record_health)

    async def _send_payload(self, attempt: PreparedAttempt, payload: Payload) -> Outcome:
        """Render the webhook's own body, and send it."""
        tenant = attempt.event.tenant
        async with self._renderer.rendered(tenant, body_of, payload, attempt.context) as (body, waited):
            return await self._send(attempt, body, waited)

    async def _send(self, attempt: PreparedAttempt, body: Body, waited: float) -> Outcome:
        """Send the request. Raises LocalLimitReached if one of our limits prevents it."""
        now = datetime.now(UTC)
        answer = await http.send(
            self._http,
            "POST",
            attempt.webhook.url,
            body=body.content,
            headers=self._headers(attempt, body, now),
            timeout=attempt.webhook.timeout,
            keep=attempt.excerpt_limit + MARGIN,
            tls=attempt.webhook.tls,
            tenant=attempt.event.tenant,
            waited=waited,
        )
        return Outcome(
            delivery=attempt.request.delivery,
            verdict=outcomes.verdict_of(answer.status_code, answer.error),
            target=attempt.webhook.target,
            started_at=answer.started_at,
            duration_ms=round(answer.duration_ms, 1),
            status_code=answer.status_code,
            error=answer.error,
            response_excerpt=_response_excerpt(attempt, answer.body),
            retry_after=outcomes.parse_retry_after(answer.headers.get("retry-after"), now),
            delays=delays_of(attempt.webhook),
            rate=attempt.webhook.current_rate,
            degraded=attempt.webhook.is_degraded,
            ordered=attempt.webhook.ordered,
        )

    def _headers(self, attempt: PreparedAttempt, body: Body, now: datetime) -> dict[str, str]:
        """Sign the attempt. Its id is that of the event, its timestamp is its own."""
        timestamp = int(now.timestamp())
        signature = sign(
            attempt.webhook.signing_secrets(now), message_id=attempt.event.id, timestamp=timestamp, body=body.content
        )
        return (
            attempt.webhook.headers
            | body.headers
            | {
                "user-agent": self._user_agent,
                "webhook-id": attempt.event.id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": signature,
            }
        )


def _response_excerpt(attempt: PreparedAttempt, body: bytes) -> str:
    """Return the start of the response without the webhook's secrets. Its path is none: the target shows it."""
    text = outcomes.excerpt(body, attempt.excerpt_limit + MARGIN)
    scrubbed = scrub_request(text, attempt.webhook.url, attempt.webhook.headers, path=False)
    return outcomes.excerpt(scrubbed.encode(), attempt.excerpt_limit)
