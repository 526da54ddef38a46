"""The webhook channel: the signed POST to a webhook's URL."""

from datetime import UTC, datetime

import httpx
import structlog
from temporalio import activity

from activities import http, outcomes, pacing, signing
from activities.outcomes import Outcome
from activities.rounds import Job, Round, RoundResult, Rounds, delays_of
from activities.scrubbing import MARGIN, scrub_request
from elements.payload import Body, body_of
from elements.sandbox import Sandbox
from registry.pacing import rate_of
from registry.store import Store

log = structlog.get_logger("hookkeeper.delivery")


class WebhookActivities:
    """Deliveries to URLs."""

    def __init__(
        self, rounds: Rounds, store: Store, client: httpx.AsyncClient, sandbox: Sandbox, user_agent: str
    ) -> None:
        self._rounds = rounds
        self._store = store
        self._http = client
        self._sandbox = sandbox
        self._user_agent = user_agent

    @activity.defn(name="deliver_webhooks")
    async def deliver(self, round_: Round) -> RoundResult:
        """Make every attempt of the round; switch off the webhooks that answered 410."""
        standard: list[Body] = []

        async def attempt(job: Job) -> Outcome:
            if not job.webhook.url:
                return Outcome(delivery=job.order.delivery, verdict="webhook_deleted")
            if deferred := pacing.not_now(job.order, job.webhook, limited=round_.limited):
                return deferred
            if job.webhook.payload:
                sandbox = self._sandbox.for_(round_.tenant)
                return await self._send(job, await sandbox.call(body_of, job.webhook.payload, job.context))
            standard[:] = standard or [body_of(None, job.context)]
            return await self._send(job, standard[0])

        return await self._rounds.make(round_, attempt, self._disable_gone)

    async def _send(self, job: Job, body: Body) -> Outcome:
        """Call, and say what it came to."""
        now = datetime.now(UTC)
        answer = await http.post(
            self._http,
            job.webhook.url,
            body=body.content,
            headers=self._headers(job, body, now),
            timeout=job.webhook.timeout,
            keep=job.excerpt_limit + MARGIN,
            tls=job.webhook.tls,
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

    async def _disable_gone(self, round_: Round, result: RoundResult) -> None:
        """Switch off webhooks that answered 410. Idempotent, so a retry of the activity may do it again."""
        for order, outcome in zip(round_.orders, result.outcomes, strict=True):
            if outcome.verdict == "gone" and await self._store.disable(order.webhook_id, "gone"):
                log.warning("webhook disabled", webhook=order.webhook_id, tenant=round_.tenant, reason="gone")


def _said(job: Job, body: bytes) -> str:
    """Give what the receiver said, without the webhook's secrets. The path is none: it is shown as the target."""
    text = outcomes.excerpt(body, job.excerpt_limit + MARGIN)
    scrubbed = scrub_request(text, job.webhook.url, job.webhook.headers, path=False)
    return outcomes.excerpt(scrubbed.encode(), job.excerpt_limit)
