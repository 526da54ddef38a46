"""The webhook channel: a signed POST to the webhook's URL."""

from datetime import UTC, datetime

import httpx
from temporalio import activity

from activities.attempts import PreparedAttempt
from activities.delivery_batch import BatchRunner
from activities.memory_budget import WorkerMemory
from activities.rate_gate import RateGate
from activities.rendering import Renderer
from hookkeeper import tracing
from hookkeeper.content.payload import Body, body_of
from hookkeeper.egress import http
from hookkeeper.egress.request_state import LocalLimitReached
from hookkeeper.egress.scrubbing import MARGIN, scrubbed_excerpt, shown_headers
from hookkeeper.messages.batch import BatchResult, DeliveryBatch
from hookkeeper.messages.outcomes import Outcome
from hookkeeper.services.webhooks.requests import digest_of, secrets_of, signed_headers


class WebhookActivities:
    def __init__(
        self,
        batches: BatchRunner,
        client: httpx.AsyncClient,
        renderer: Renderer,
        gate: RateGate,
        memory: WorkerMemory,
        *,
        send_traceparent: bool = False,
    ) -> None:
        self._batches = batches
        self._http = client
        self._renderer = renderer
        self._gate = gate
        self._memory = memory
        self._send_traceparent = send_traceparent

    @activity.defn
    async def deliver_webhooks(self, batch: DeliveryBatch) -> BatchResult:
        """Make every attempt of the batch."""
        return await self._batches.run(batch, self._attempt)

    async def _attempt(self, attempt: PreparedAttempt) -> Outcome:
        """Send the request, or defer it if the webhook's rate or a concurrency limit does not allow it now."""
        request, webhook, batch = attempt.request, attempt.webhook, attempt.batch
        if not webhook.url:
            return Outcome(delivery=request.delivery, verdict="webhook_deleted")
        now = batch.now()
        if deferred := await self._gate.defer_by_rate(request, webhook, now):
            return deferred
        # An event that shares its activity waits for a slot: deferred, it would need a run of its own.
        slot = self._gate.concurrency.slot(webhook.id, waits=batch.is_shared)
        async with slot as is_within_limit:
            if not (is_within_limit or request.immediate):
                return await self._gate.defer_by_concurrency(request, webhook, now)
            try:
                return await self._send(attempt)
            except LocalLimitReached:
                if request.immediate:
                    raise  # it is not deferred: the activity is retried
                return await self._gate.defer_by_tenant(request, webhook, batch.now())

    async def _send(self, attempt: PreparedAttempt) -> Outcome:
        """Make the body and post it. Raises LocalLimitReached if one of our limits prevents it."""
        payload = attempt.webhook.payload
        if payload:
            async with self._renderer.rendered(attempt.tenant, body_of, payload, attempt.context) as (body, waited):
                return await self._post(attempt, body, waited)
        body = attempt.batch.standard_body
        async with self._memory.request(attempt.tenant, body.size) as reservation:
            return await self._post(attempt, body, reservation.waited)

    async def _post(self, attempt: PreparedAttempt, body: Body, waited: float) -> Outcome:
        webhook, batch, keep = attempt.webhook, attempt.batch, attempt.batch.excerpt_limit
        headers = self._headers(attempt, body, datetime.now(UTC))
        answer = await http.send(
            self._http,
            "POST",
            webhook.url,
            body=body.content,
            headers=headers,
            timeout=webhook.timeout,
            keep=keep + MARGIN,
            tls=webhook.tls,
            tenant=attempt.tenant,
            waited=waited,
        )
        # The path is no secret: the target shows it.
        secrets = secrets_of(webhook, headers)
        text = scrubbed_excerpt(answer.body, keep, webhook.url, secrets, path=False)
        return attempt.outcome(
            answer,
            text,
            webhook.target,
            request_digest=digest_of(webhook, body),
            response_headers=shown_headers(answer.all_headers, batch.headers_limit, webhook.url, secrets, path=False),
            degraded=webhook.is_hanging,
            ordered=webhook.ordered,
        )

    def _headers(self, attempt: PreparedAttempt, body: Body, now: datetime) -> dict[str, str]:
        """Return the headers of the attempt, whose timestamp is its own."""
        context = tracing.current() if self._send_traceparent else None
        traced = {tracing.HEADER: context} if context else {}
        return traced | signed_headers(attempt.webhook, attempt.event.id, body, now)
