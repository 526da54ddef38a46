"""The webhook channel: the signed POST to a webhook's URL."""

from datetime import UTC, datetime

import httpx
from temporalio import activity

from activities.health import HealthRecorder, clock_ahead
from activities.memory_budget import request_memory
from activities.rate_gate import RateGate
from activities.rounds import Job, Round, RoundResult, Rounds, delays_of
from activities.webhook_concurrency import Crowds
from hookkeeper import outcomes
from hookkeeper.content.payload import Body, Payload, body_of
from hookkeeper.egress import http, signing
from hookkeeper.egress.link import LocalLimitReached
from hookkeeper.egress.scrubbing import MARGIN, scrub_request
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.pacing import order_of, rate_of
from hookkeeper.sandbox.pool import Sandbox


class WebhookActivities:
    """Deliveries to URLs."""

    def __init__(
        self,
        rounds: Rounds,
        health: HealthRecorder,
        client: httpx.AsyncClient,
        sandbox: Sandbox,
        user_agent: str,
        crowds: Crowds,
        gate: RateGate,
    ) -> None:
        self._rounds = rounds
        self._health = health
        self._http = client
        self._sandbox = sandbox
        self._user_agent = user_agent
        self._crowds = crowds
        self._gate = gate

    @activity.defn(name="deliver_webhooks")
    async def deliver(self, round_: Round) -> RoundResult:
        """Make every attempt of the round; note what they say of the health of its webhooks."""
        standard: list[Body] = []
        seen: dict[str, Webhook] = {}
        ahead, memory = clock_ahead(), self._rounds.memory

        async def send(job: Job) -> Outcome:
            if job.webhook.payload:
                return await self._send_payload(job, job.webhook.payload)
            standard[:] = standard or [body_of(None, job.context)]
            async with memory.request(round_.tenant, len(standard[0].content)) as reservation:
                return await self._send(job, standard[0], reservation.waited)

        async def attempt(job: Job) -> Outcome:
            if not job.webhook.url:
                return Outcome(delivery=job.order.delivery, verdict="webhook_deleted")
            now = datetime.now(UTC) + ahead
            if deferred := await self._gate.not_now(job.order, job.webhook, now, round_):
                return deferred
            seen[job.webhook.id] = job.webhook
            with self._crowds.joined(job.webhook.id, limited=round_.limited) as has_room:
                if not (has_room or job.order.at_once):
                    return await self._gate.crowded_out(
                        job.order, job.webhook, now, self._crowds.at_most, limited=round_.limited
                    )
                try:
                    return await send(job)
                except LocalLimitReached:
                    if job.order.at_once:
                        raise  # a request that a person wants now is not deferred: the activity is tried again
                    return await self._gate.no_place(job.order, job.webhook, datetime.now(UTC) + ahead)

        async def note(round_: Round, result: RoundResult) -> RoundResult:
            return await self._health.note(round_, result, seen, ahead)

        return await self._rounds.make(round_, attempt, note)

    async def _send_payload(self, job: Job, payload: Payload) -> Outcome:
        """Make the webhook's own body, in memory that is reserved before, and send it."""
        tenant, memory = job.event.tenant, self._rounds.memory
        async with memory.request(tenant) as reservation:
            body = await self._sandbox.for_(tenant).call(body_of, payload, job.context, memory.max_body_bytes)
            reservation.shrink_to(request_memory(len(body.content)))
            return await self._send(job, body, reservation.waited)

    async def _send(self, job: Job, body: Body, waited: float) -> Outcome:
        """Call, and say what it came to. Raises LocalLimitReached where a limit of ours prevents the request."""
        now = datetime.now(UTC)
        answer = await http.post(
            self._http,
            job.webhook.url,
            body=body.content,
            headers=self._headers(job, body, now),
            timeout=job.webhook.timeout,
            keep=job.excerpt_limit + MARGIN,
            tls=job.webhook.tls,
            tenant=job.event.tenant,
            waited=waited,
        )
        return Outcome(
            delivery=job.order.delivery,
            verdict=outcomes.verdict_of(answer.status_code, answer.error),
            target=job.webhook.target,
            started_at=answer.started_at,
            duration_ms=round(answer.duration_ms, 1),
            status_code=answer.status_code,
            error=answer.error,
            response_excerpt=_said(job, answer.body),
            retry_after=outcomes.parse_retry_after(answer.headers.get("retry-after"), now),
            delays=delays_of(job.webhook),
            rate=rate_of(job.webhook),
            ordered=order_of(job.webhook),
        )

    def _headers(self, job: Job, body: Body, now: datetime) -> dict[str, str]:
        """Sign for this attempt: the id is the event's at each one, the timestamp is the attempt's."""
        timestamp = int(now.timestamp())
        signature = signing.sign(
            job.webhook.signing_secrets(now), message_id=job.event.id, timestamp=timestamp, body=body.content
        )
        return (
            job.webhook.headers
            | body.headers
            | {
                "user-agent": self._user_agent,
                "webhook-id": job.event.id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": signature,
            }
        )


def _said(job: Job, body: bytes) -> str:
    """Give what the receiver said, without the webhook's secrets. The path is none: it is shown as the target."""
    text = outcomes.excerpt(body, job.excerpt_limit + MARGIN)
    scrubbed = scrub_request(text, job.webhook.url, job.webhook.headers, path=False)
    return outcomes.excerpt(scrubbed.encode(), job.excerpt_limit)
