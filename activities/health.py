"""Record the results of batches in the health of their webhooks, after all their attempts.

If the registry stays unreachable then, the activity is retried, continues from the outcomes in its heartbeats, and
records them. So each batch is recorded at least once; `hookkeeper.registry.health` explains why twice does no harm.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import structlog
from temporalio import activity

from activities.delivery_batch import Made
from hookkeeper.messages.batch import AttemptRequest
from hookkeeper.outcomes import BUSY_STATUS_CODES, Outcome
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.health import DisabledReason, RequestResult, needs_recording
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store
from hookkeeper.temporal.probes import Probes

PAUSES = (0.5, 1.0)
"""Seconds before each further try to record. The retry of an activity takes longer: it waits for another turn if its
webhook has a rate limit."""
BUSY_SECONDS = 5.0
"""A busy receiver that does not say until when gets no requests for this time, twice as long each time in a row."""
MAX_BUSY_SECONDS = 60.0
MAX_DOUBLINGS = 4
SLOW_MS = 1000
"""An attempt that takes longer is long."""
WEIGHT = 0.1
"""Weight of the latest attempt in the share of long ones."""
SLOW_SHARE = 0.18
"""Two long attempts in a row exceed it."""
MAX_WEBHOOKS = 10_000
log = structlog.get_logger("hookkeeper.delivery")


class SlowWebhooks:
    """Remembers which webhooks are slow, by the share of their latest attempts that took long. Each worker process has
    its own view. One long attempt among many says little: under load, every webhook has some.
    """

    def __init__(self) -> None:
        self._shares: OrderedDict[str, float] = OrderedDict()
        """Shares of long attempts, by webhook; without those that are next to nothing."""

    def note(self, webhook_id: str, duration_ms: float) -> bool:
        """Note the duration of an attempt; return whether it was long, and so were too many of the latest."""
        is_long = duration_ms > SLOW_MS
        share = self._shares.pop(webhook_id, 0.0) * (1 - WEIGHT) + WEIGHT * is_long
        if share > WEIGHT / 100:
            self._shares[webhook_id] = share
            if len(self._shares) > MAX_WEBHOOKS:
                self._shares.popitem(last=False)
        return is_long and share > SLOW_SHARE


class HealthRecorder:
    def __init__(self, store: Store, disable_after: timedelta | None, probes: Probes | None = None) -> None:
        """`disable_after`: time of nothing but failures, for webhooks without a setting of their own; None is never."""
        self._store = store
        self._disable_after = disable_after.total_seconds() if disable_after else None
        self._probes = probes
        self._slow = SlowWebhooks()

    async def record(
        self, tenant: str, made: Sequence[Made], before: Mapping[str, Webhook], offset: timedelta
    ) -> Collection[str]:
        """Record the outcomes of a tenant's attempts; return the webhooks that were disabled by them.

        `before` are the webhooks as they were before their attempts, as far as this try of the activity has read them.
        `offset` is that of Temporal's clock.
        """
        changes = list(self._changes(made, before, offset))
        if not changes:
            return ()
        disabled = await self._record(changes)
        for webhook_id, reason in disabled.items():
            log.warning("webhook disabled", webhook=webhook_id, tenant=tenant, reason=reason)
            if reason == "failing" and self._probes:
                await self._probes.start(tenant, webhook_id)
        return disabled

    async def _record(self, changes: Sequence[RequestResult]) -> Mapping[str, DisabledReason]:
        again = activity.info().attempt > 1
        for pause in PAUSES:
            try:
                return await self._store.health.record(changes, self._disable_after, again=again)
            except RegistryUnavailable:
                await asyncio.sleep(pause)
                again = True
        return await self._store.health.record(changes, self._disable_after, again=again)

    def _changes(
        self, made: Sequence[Made], before: Mapping[str, Webhook], offset: timedelta
    ) -> Iterator[RequestResult]:
        """Yield what is to be recorded: of the successes of a webhook, the latest."""
        successes: dict[str, RequestResult] = {}
        for request, outcome in made:
            change = self._change(request, outcome, before.get(request.webhook_id), offset)
            if change is None:
                continue
            if change.answer != "succeeded":
                yield change
                continue
            other = successes.get(change.webhook_id, change)
            latest = max(other, change, key=lambda success: success.at)
            successes[change.webhook_id] = replace(latest, slow=other.slow or change.slow)
        yield from successes.values()

    def _change(
        self, request: AttemptRequest, outcome: Outcome, before: Webhook | None, offset: timedelta
    ) -> RequestResult | None:
        """Return what the outcome shows of the webhook's health; None without a request, or if nothing has changed."""
        if outcome.started_at is None or outcome.verdict == "bad_template":
            return None
        at = outcome.started_at + timedelta(milliseconds=outcome.duration_ms) + offset
        slow = self._slow.note(request.webhook_id, outcome.duration_ms)
        if outcome.verdict == "succeeded":
            if before and not needs_recording(before, at, slow=slow):
                return None
            was_throttled = bool(before and before.throttled_until)
            return RequestResult(request.webhook_id, "succeeded", at, was_throttled=was_throttled, slow=slow)
        if outcome.verdict == "gone":
            return RequestResult(request.webhook_id, "gone", at, slow=slow, url=before.url if before else None)
        throttle = throttled_for(before, outcome)
        until = at + timedelta(seconds=throttle) if throttle else None
        answer: Literal["timed_out", "failed"] = "timed_out" if outcome.error == "timeout" else "failed"
        return RequestResult(request.webhook_id, answer, at, until, slow=slow)


def throttled_for(webhook: Webhook | None, outcome: Outcome) -> float:
    """Return the seconds for which the webhook accepts no requests after this outcome; 0 is none.

    `webhook` is as it was before. If the receiver does not say how long, the webhook's own retry policy may be shorter.
    """
    requested = outcome.retry_after or 0.0
    if outcome.status_code not in BUSY_STATUS_CODES:
        return requested
    in_a_row = webhook.failures or 0 if webhook else 0
    backoff = BUSY_SECONDS * 2.0 ** min(in_a_row, MAX_DOUBLINGS)
    return max(requested, min(backoff, MAX_BUSY_SECONDS, *(outcome.delays or ())))
