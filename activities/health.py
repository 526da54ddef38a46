"""What a round says of the health of its webhooks: noted together, when all its attempts have been made.

A registry that is out of reach then is our fault: the activity is tried again, goes on from the outcomes in its
heartbeats, and notes them. So a round is noted at least once; `hookkeeper.registry.health` says why twice does no harm.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog
from temporalio import activity

from activities.pacing import throttled_for
from activities.rounds import Order, Round, RoundResult
from hookkeeper.outcomes import Outcome
from hookkeeper.registry.health import Result, is_news
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import Store

log = structlog.get_logger("hookkeeper.delivery")


class Probes(Protocol):
    """Tries webhooks that were disabled for failing."""

    async def start(self, tenant: str, webhook_id: str) -> None:
        """See to it that the webhook is probed, by one alone."""


class HealthRecorder:
    """Keeps the books of how webhooks do."""

    def __init__(self, store: Store, disable_after: timedelta | None, probes: Probes | None = None) -> None:
        """`disable_after`: of nothing but failures, for webhooks that do not say; None is never."""
        self._store = store
        self._disable_after = disable_after.total_seconds() if disable_after else None
        self._probes = probes

    async def note(
        self, round_: Round, result: RoundResult, seen: Mapping[str, Webhook], ahead: timedelta
    ) -> RoundResult:
        """Note what the round came to; mark the outcomes whose webhook it has disabled.

        `seen` are the webhooks as they were when their attempts began, as far as this try of the activity has read
        them. `ahead` is how far Temporal's clock is.
        """
        pairs = zip(round_.orders, result.outcomes, strict=True)
        known = [_result_of(order, outcome, seen.get(order.webhook_id), ahead) for order, outcome in pairs]
        news = [each for each in known if each]
        if not news:
            return result
        activity.heartbeat(*result.outcomes)  # what has been sent is known, whatever becomes of this write
        again = activity.info().attempt > 1
        disabled = await self._store.health.note(news, self._disable_after, again=again)
        for webhook_id, reason in disabled.items():
            log.warning("webhook disabled", webhook=webhook_id, tenant=round_.tenant, reason=reason)
            if reason == "failing" and self._probes:
                await self._probes.start(round_.tenant, webhook_id)
        return _marked(round_, result, disabled)


def clock_ahead() -> timedelta:
    """Tell how far Temporal's clock is ahead of ours; to be asked when an activity begins.

    Throttles go by Temporal's, as the timers do that wait for their end: else one that is due could come too early.
    """
    return activity.info().started_time - datetime.now(UTC)


def _result_of(order: Order, outcome: Outcome, webhook: Webhook | None, ahead: timedelta) -> Result | None:
    """Say what a request says of its webhook; None where none was made, and for what is known already."""
    if outcome.started_at is None or outcome.verdict == "bad_template":
        return None
    at = outcome.started_at + timedelta(milliseconds=outcome.duration_ms) + ahead
    if outcome.verdict == "succeeded":
        if webhook and not is_news(webhook, at):
            return None
        return Result(order.webhook_id, "succeeded", at, knowingly=bool(webhook and webhook.throttled_until))
    throttle = throttled_for(webhook, outcome)
    until = at + timedelta(seconds=throttle) if throttle else None
    if outcome.verdict == "gone":
        return Result(order.webhook_id, "gone", at)
    return Result(order.webhook_id, "timed_out" if outcome.error == "timeout" else "failed", at, until)


def _marked(round_: Round, result: RoundResult, disabled: Mapping[str, object]) -> RoundResult:
    if not disabled:
        return result
    pairs = zip(round_.orders, result.outcomes, strict=True)
    return RoundResult(
        outcomes=tuple(
            outcome.model_copy(update={"disabled": True}) if order.webhook_id in disabled else outcome
            for order, outcome in pairs
        )
    )
