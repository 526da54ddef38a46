"""The webhook channel: one activity takes all targets of a round and returns one outcome a target."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import httpx
import structlog
from temporalio import activity
from temporalio.client import Client

from activities import http, outcomes, rendering, signing
from activities.history import EventData
from activities.outcomes import Message, Outcome
from registry.models import Webhook
from registry.store import Store

HEARTBEAT_INTERVAL = 1.0
MAX_CONCURRENT_TARGETS = 100
log = structlog.get_logger("hookkeeper.delivery")


class Order(Message):
    """One attempt to make."""

    delivery: str
    webhook_id: str
    number: int
    trigger: Literal["scheduled", "manual"] = "scheduled"


class Round(Message):
    """One event and all attempts to make of it at once."""

    id: str
    type: str
    tenant: str
    timestamp: datetime
    data: Any = None
    data_inline: bool = True
    """False: the data is read back from the first event of the run's own history."""
    orders: tuple[Order, ...]


class RoundResult(Message):
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    """What all attempts of a round share."""

    round: Round
    body: bytes
    excerpt_limit: int


class WebhookActivities:
    """Deliveries to URLs. Reads the webhook at each attempt, so a corrected URL or a new secret counts at once."""

    def __init__(self, store: Store, client: httpx.AsyncClient, temporal: Client, user_agent: str) -> None:
        self._store = store
        self._http = client
        self._data = EventData(temporal)
        self._user_agent = user_agent

    @activity.defn(name="deliver_webhooks")
    async def deliver(self, round_: Round) -> RoundResult:
        """Make every attempt of the round; return one outcome an order, in their order.

        Raises only for our own faults (`RegistryUnavailable`, Temporal out of reach). Outcomes that were there before
        such a fault travel in the heartbeat, so the activity's retry does not send those again.
        """
        known = _outcomes_of_earlier_try()
        work = asyncio.ensure_future(self._deliver(round_, known))
        try:
            async with _heartbeats(known):
                await asyncio.shield(work)
        except asyncio.CancelledError:
            if not _asked_to_cancel():
                work.cancel()
                raise
            await work  # what has been sent is recorded, not dropped
        return RoundResult(outcomes=tuple(known[order.delivery] for order in round_.orders))

    async def _deliver(self, round_: Round, known: dict[str, Outcome]) -> None:
        orders = [order for order in round_.orders if order.delivery not in known]
        if orders:
            webhooks = await self._store.many([order.webhook_id for order in orders])
            body = rendering.standard_body(round_.id, round_.type, round_.timestamp, await self._data_of(round_))
            job = _Job(round_, body, outcomes.excerpt_limit(len(round_.orders)))
            slots = asyncio.Semaphore(MAX_CONCURRENT_TARGETS)

            async def attempt(order: Order) -> None:
                async with slots:
                    outcome = await self._attempt(job, order, webhooks.get(order.webhook_id))
                known[order.delivery] = outcome
                activity.heartbeat(*known.values())
                _log_attempt(round_, order, outcome)

            await _all(attempt(order) for order in orders)
        await self._disable_gone(round_, known)

    async def _data_of(self, round_: Round) -> Any:
        return round_.data if round_.data_inline else await self._data.of_this_run()

    async def _attempt(self, job: _Job, order: Order, webhook: Webhook | None) -> Outcome:
        """Prepare, call, and say what it came to."""
        if webhook is None:
            return Outcome(delivery=order.delivery, verdict="webhook_deleted")
        if not webhook.enabled and order.trigger == "scheduled":
            return Outcome(delivery=order.delivery, verdict="held", target=webhook.target)
        now = datetime.now(UTC)
        answer = await http.post(
            self._http,
            webhook.url,
            body=job.body,
            headers=self._headers(webhook, job, now),
            timeout=webhook.timeout,
            keep=job.excerpt_limit,
        )
        return Outcome(
            delivery=order.delivery,
            verdict=outcomes.verdict_of(answer.status_code, answer.error),
            target=webhook.target,
            started_at=answer.started_at,
            duration_ms=round(answer.duration_ms, 1),
            status_code=answer.status_code,
            error=answer.error,
            response_excerpt=outcomes.excerpt(answer.body, job.excerpt_limit),
            retry_after=outcomes.parse_retry_after(answer.headers.get("retry-after"), now),
            delays=webhook.retry.delays if webhook.retry else None,
        )

    def _headers(self, webhook: Webhook, job: _Job, now: datetime) -> dict[str, str]:
        """Sign for this attempt: the id is the event's at each one, the timestamp is the attempt's."""
        timestamp = int(now.timestamp())
        signature = signing.sign(
            webhook.signing_secrets(now), message_id=job.round.id, timestamp=timestamp, body=job.body
        )
        return webhook.headers | {
            "content-type": "application/json",
            "user-agent": self._user_agent,
            "webhook-id": job.round.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature,
        }

    async def _disable_gone(self, round_: Round, known: dict[str, Outcome]) -> None:
        """Switch off webhooks that answered 410. Idempotent, so a retry of the activity may do it again."""
        for order in round_.orders:
            gone = known[order.delivery].verdict == "gone"
            if gone and await self._store.disable(order.webhook_id, "gone"):
                log.warning("webhook disabled", webhook=order.webhook_id, tenant=round_.tenant, reason="gone")


def _outcomes_of_earlier_try() -> dict[str, Outcome]:
    details = activity.info().heartbeat_details
    return {outcome.delivery: outcome for outcome in map(Outcome.model_validate, details)}


def _asked_to_cancel() -> bool:
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested and not activity.is_worker_shutdown()


@asynccontextmanager
async def _heartbeats(known: dict[str, Outcome]) -> AsyncIterator[None]:
    """Say every second that this activity is alive, and what it knows by now."""

    async def beat() -> None:
        while True:
            activity.heartbeat(*known.values())
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


async def _all(attempts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for every attempt, and only then raise the first fault: one that is under way is never thrown away."""
    results = await asyncio.gather(*attempts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _log_attempt(round_: Round, order: Order, outcome: Outcome) -> None:
    log.info(
        "attempt",
        tenant=round_.tenant,
        event_id=round_.id,
        event_type=round_.type,
        delivery=order.delivery,
        attempt=order.number,
        trigger=order.trigger,
        verdict=outcome.verdict,
        status_code=outcome.status_code,
        error=outcome.error,
        duration_ms=outcome.duration_ms,
        target=outcome.target,
    )
