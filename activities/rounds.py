"""What the rounds of all channels share: many attempts at once, none made again whose outcome is known.

A round's outcomes travel in its heartbeats, so that the activity's retry, after a kill or a fault of ours, goes on
where the last try was. A retry in the same process joins the last try itself (`activities.recent_results`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from temporalio import activity
from temporalio.client import Client

from activities.heartbeat import heartbeating
from activities.history import EventData
from activities.memory_budget import Memory
from activities.recent_results import Recent, Tries
from activities.tenant_concurrency import Places
from hookkeeper import outcomes
from hookkeeper.content.context import About, Event, context_of
from hookkeeper.content.faults import Fault
from hookkeeper.outcomes import Message, Outcome, Slot
from hookkeeper.registry.alerts import has_recovered
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store

MAX_CONCURRENT_TARGETS = 100
log = structlog.get_logger("hookkeeper.delivery")


class Order(Message):
    """One attempt to make."""

    delivery: str
    webhook_id: str
    number: int
    trigger: Literal["scheduled", "manual"] = "scheduled"
    at_once: bool = False
    """A person wants it now, whatever the webhook's rate."""
    waited: bool = False
    """It has been put off: where its webhook is off by now, it is held, whoever wanted it."""
    slot: Slot | None = None
    """The time that an earlier try has reserved for it."""
    reached: tuple[str, ...] = ()
    """Digests of the addresses that have the email already."""
    redelivered_from: int = 0
    """The attempt that the latest redelivery began with; 0: what is sent is the first of its kind."""


class Round(Message):
    """One event and all attempts to make of it at once, through one channel."""

    id: str
    type: str
    tenant: str
    timestamp: datetime
    data: Any = None
    data_inline: bool = True
    """False: the data is read back from the first event of the run's own history."""
    orders: tuple[Order, ...]
    limited: bool = False
    """It came through the queue that keeps each webhook's rate."""
    pace: float | None = None
    """Requests a second that the queue kept to then; None also where an older worker has started the round."""


class RoundResult(Message):
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt that can be made: the webhook is there, and is on or was asked for by hand."""

    order: Order
    webhook: Webhook
    event: Event
    excerpt_limit: int
    """Bytes of response to keep."""

    @property
    def context(self) -> dict[str, Any]:
        return context_of(self.event, about(self.webhook))


MakeAttempt = Callable[[Job], Awaitable[Outcome]]
"""Says what came of it; raises `Fault` for what the webhook's owner wrote, else for our own faults only."""
Afterwards = Callable[[Round, RoundResult], Awaitable[RoundResult]]
"""Does what the outcomes ask for, again where it is tried again, and gives the result with what came of that."""


class Rounds:
    """Makes rounds. Reads each webhook at each attempt, so a corrected URL or a new secret counts at once."""

    def __init__(
        self, store: Store, temporal: Client, places: Places, memory: Memory, *, always_alert: bool = False
    ) -> None:
        """`always_alert`: somebody wants to be told of every failure, whatever the webhook says."""
        self._store = store
        self._places = places
        self.memory = memory
        self._data = EventData(temporal)
        self._always_alert = always_alert
        self._recent: Recent[RoundResult] = Recent()

    async def make(self, round_: Round, attempt: MakeAttempt, afterwards: Afterwards | None = None) -> RoundResult:
        """Make every attempt of the round; return one outcome an order, in their order.

        Raises only for our own faults (`RegistryUnavailable`, Temporal out of reach), and where its tenant has no free
        place.
        """
        with self._places.taken(round_.tenant):
            return await self._make_alive(round_, attempt, afterwards)

    async def _make_alive(self, round_: Round, attempt: MakeAttempt, afterwards: Afterwards | None) -> RoundResult:
        """Make every attempt, and give signs of life meanwhile."""
        tries, work = self._recent.join(
            round_.tenant, _outcomes_of_earlier_try(), lambda tries: self._make(round_, tries, attempt, afterwards)
        )
        # It gives signs of life after a cancellation, too: an attempt can take longer than Temporal waits for one.
        async with heartbeating(tries.known.values):
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                if _has_to_stop():
                    work.cancel()
                    raise
                return await work  # what has been sent is recorded, not dropped: the next try may join it

    async def _make(
        self, round_: Round, tries: Tries[RoundResult], attempt: MakeAttempt, afterwards: Afterwards | None
    ) -> RoundResult:
        known = tries.known
        orders = [order for order in round_.orders if order.delivery not in known]
        if orders:
            data = await self._data_of(round_)
            with self.memory.holding(round_.tenant, data):
                await self._make_each(round_, orders, data, tries, attempt)
        result = RoundResult(outcomes=tuple(known[order.delivery] for order in round_.orders))
        return await afterwards(round_, result) if afterwards else result

    async def _make_each(
        self, round_: Round, orders: list[Order], data: Any, tries: Tries[RoundResult], attempt: MakeAttempt
    ) -> None:
        """Make the attempts that these orders want."""
        webhooks = await self._store.many([order.webhook_id for order in orders])
        event = Event(round_.id, round_.type, round_.tenant, round_.timestamp, data)
        limit = outcomes.excerpt_limit(len(round_.orders))
        slots = asyncio.Semaphore(MAX_CONCURRENT_TARGETS)

        async def make_one(order: Order) -> None:
            async with slots:
                outcome = await self._outcome(order, webhooks.get(order.webhook_id), event, limit, attempt)
            tries.known[order.delivery] = outcome
            if len(tries.known) < len(round_.orders):  # the last one is told by the result itself
                tries.report()
            _log_attempt(round_, order, outcome)

        await every(make_one(order) for order in orders)

    async def _data_of(self, round_: Round) -> Any:
        return round_.data if round_.data_inline else await self._data.of_this_run()

    async def _outcome(
        self, order: Order, webhook: Webhook | None, event: Event, limit: int, attempt: MakeAttempt
    ) -> Outcome:
        if webhook is None:
            return Outcome(delivery=order.delivery, verdict="webhook_deleted")
        goes_by_webhook = order.trigger == "scheduled" or order.waited
        if goes_by_webhook and not webhook.enabled:
            return Outcome(delivery=order.delivery, verdict="held")
        if goes_by_webhook and webhook.paused_at:
            return Outcome(delivery=order.delivery, verdict="held", held_by="webhook_paused")
        job = Job(order, webhook, event, limit)
        try:
            outcome = await attempt(job)
        except Fault as fault:
            outcome = _bad_template(job, fault)
        told = self._always_alert or webhook.on_failure is not None
        recovered = told and outcome.verdict == "succeeded" and has_recovered(webhook, order.delivery)
        return outcome.model_copy(update={"alerts": True, "recovered": recovered}) if told else outcome


def _bad_template(job: Job, fault: Fault) -> Outcome:
    """Say why nothing could be made of the event: no request was made, and none later would fare better."""
    return Outcome(
        delivery=job.order.delivery,
        verdict="bad_template",
        started_at=datetime.now(UTC),
        error="bad_template",
        response_excerpt=outcomes.excerpt(str(fault).encode(), job.excerpt_limit),
    )


def about(webhook: Webhook) -> About:
    return About(webhook.id, webhook.name, webhook.metadata_)


def delays_of(webhook: Webhook) -> tuple[float, ...] | None:
    """Give the seconds before attempts 2, 3, … by the webhook's own policy."""
    return webhook.retry.delays if webhook.retry else None


def _outcomes_of_earlier_try() -> dict[str, Outcome]:
    details = activity.info().heartbeat_details
    return {outcome.delivery: outcome for outcome in map(Outcome.model_validate, details)}


def _has_to_stop() -> bool:
    """Say whether the activity was cancelled since its worker ends, or since it has taken longer than it may."""
    details = activity.cancellation_details()
    return activity.is_worker_shutdown() or (details is not None and details.timed_out)


async def every(attempts: Iterable[Coroutine[Any, Any, None]]) -> None:
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
