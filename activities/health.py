"""Record the results of batches in the health of their webhooks, each second while attempts of a batch last.

If the registry stays unreachable then, the activity is retried, continues from the outcomes in its heartbeats, and
records them. So each batch is recorded at least once; `registry.webhooks.health` explains why twice does no harm.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog
from temporalio import activity

from activities.delivery_batch import Made
from hookkeeper import metrics
from hookkeeper.content.text import truncate
from hookkeeper.kinds import URL
from hookkeeper.messages.outcomes import BUSY_STATUS_CODES, NOT_MADE, Outcome
from hookkeeper.policy import HealthDefaults
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks.health import MAX_TEXT, Answer, AttemptResult, HealthChange, needs_recording
from hookkeeper.registry.webhooks.targets import part_of
from hookkeeper.services.incidents import Call, IncidentCalls, calls_after, time_left

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
    def __init__(self, store: Store, defaults: HealthDefaults, incidents: IncidentCalls) -> None:
        """`defaults` are for webhooks without settings of their own."""
        self._store = store
        self._defaults = defaults
        self._incidents = incidents
        self._slow = SlowWebhooks()

    async def record(self, tenant: str, made: Sequence[Made], before: Mapping[str, Webhook], offset: timedelta) -> None:
        """Record the outcomes of a tenant's attempts, and let the incidents of their webhooks know.

        `before` are the webhooks as they were before their attempts, as far as this try of the activity has read them.
        `offset` is that of Temporal's clock.
        """
        results = list(self._results(made, before, offset))
        changes = await self._record(results) if results else ()
        for change in changes:
            _tell(tenant, change)
        now = datetime.now(UTC) + offset
        calls = calls_during(made, before, now) | calls_after(changes, before, now)
        disabled = {change.webhook_id for change in changes if change.disabled == "failing"}
        await self._incidents.make(tenant, calls, before, probed=disabled)

    async def _record(self, results: Sequence[AttemptResult]) -> Sequence[HealthChange]:
        again = activity.info().attempt > 1
        for pause in PAUSES:
            try:
                return await self._store.health.record(results, self._defaults, again=again)
            except RegistryUnavailable:
                await asyncio.sleep(pause)
                again = True
        return await self._store.health.record(results, self._defaults, again=again)

    def _results(
        self, made: Sequence[Made], before: Mapping[str, Webhook], offset: timedelta
    ) -> Iterator[AttemptResult]:
        """Yield what is to be recorded: of the successes of a target, the latest."""
        successes: dict[str, AttemptResult] = {}
        for each in made:
            result = self._result(each, before.get(each.request.webhook_id), offset)
            if result is None:
                continue
            if result.answer not in ("succeeded", "sent"):
                yield result
                continue
            other = successes.get(each.request.delivery, result)
            latest = max(other, result, key=lambda success: success.at)
            slowest = max(other, result, key=lambda success: (success.slow, success.duration_ms or 0))
            latest = replace(latest, slow=slowest.slow, duration_ms=slowest.duration_ms)
            successes[each.request.delivery] = latest
        yield from successes.values()

    def _result(self, made: Made, before: Webhook | None, offset: timedelta) -> AttemptResult | None:
        """Return what the outcome shows of the target; None without an attempt, or if nothing has changed."""
        request, outcome = made.request, made.outcome
        if outcome.started_at is None:
            return None
        at = outcome.started_at + timedelta(milliseconds=outcome.duration_ms) + offset
        target = part_of(request.delivery)
        is_request = target == URL.name and outcome.verdict != "bad_template"
        slow = is_request and self._slow.note(request.webhook_id, outcome.duration_ms)
        if outcome.verdict == "succeeded":
            if before and not needs_recording(before, target, at, slow=slow):
                return None
            return AttemptResult(
                request.webhook_id,
                "sent" if outcome.awaiting else "succeeded",
                at,
                was_throttled=bool(before and before.throttled_until),
                slow=slow,
                duration_ms=outcome.duration_ms,
                target=target,
            )
        throttle = throttled_for(before, outcome) if is_request and outcome.verdict != "gone" else 0
        return AttemptResult(
            request.webhook_id,
            _answer(outcome),
            at,
            at + timedelta(seconds=throttle) if throttle else None,
            slow=slow,
            url=before.url if before else None,
            target=target,
            status_code=outcome.status_code,
            error=outcome.error,
            text=truncate(outcome.response_excerpt, MAX_TEXT),
            event_id=made.event_id,
        )


def _tell(tenant: str, change: HealthChange) -> None:
    facts = {name: getattr(change, name) for name in ("began", "reached", "recovered")}
    log.info("health changed", webhook=change.webhook_id, tenant=tenant, **facts)
    if change.disabled:
        log.warning("webhook disabled", webhook=change.webhook_id, tenant=tenant, reason=change.disabled)
        metrics.WEBHOOKS_DISABLED.labels(change.disabled).inc()


def _answer(outcome: Outcome) -> Answer:
    if outcome.verdict == "gone":
        return "gone"
    return "timed_out" if outcome.error == "timeout" else "failed"


def calls_during(made: Sequence[Made], before: Mapping[str, Webhook], now: datetime) -> dict[str, Call]:
    """Return the calls of incidents that attempts need, whether or not they have changed the health.

    A failure makes up for a start that has failed, and a success for a look.
    """
    found: dict[str, Call] = {}
    for _, request, outcome in made:
        webhook = before.get(request.webhook_id)
        if webhook is None or outcome.verdict in NOT_MADE:
            continue
        if outcome.verdict != "succeeded":
            found[webhook.id] = time_left(webhook.failing_from, now)
        elif webhook.enabled and webhook.incident and webhook.incident.is_open and not webhook.failing:
            found[webhook.id] = None
    return found


def throttled_for(webhook: Webhook | None, outcome: Outcome) -> float:
    """Return the seconds for which the webhook accepts no requests after this outcome; 0 is none.

    `webhook` is as it was before. If the receiver does not say how long, the webhook's own retry policy may be shorter.
    """
    requested = outcome.retry_after or 0.0
    if outcome.status_code not in BUSY_STATUS_CODES:
        return requested
    in_a_row = webhook.url_failures or 0 if webhook else 0
    backoff = BUSY_SECONDS * 2.0 ** min(in_a_row, MAX_DOUBLINGS)
    return max(requested, min(backoff, MAX_BUSY_SECONDS, *(outcome.delays or ())))
