"""The health of webhooks, from the results of their attempts.

A webhook is healthy if the latest attempt of each of its targets has succeeded. `failing` in its row has the targets
whose latest attempt has failed; only attempts change it. What is sent to the URL follows from records of its own, which
begin anew when it is enabled, resumed or changed: failures, timeouts, throttling.

A success that is no news is recorded once a minute only (`needs_recording`), and so is an attempt that took long, or
that is quick again. A
result may be recorded twice if its activity is retried: a success is idempotent, a failure increases the counters but
changes no time. The counters are approximate; the run's history is exact.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Select, case, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import load_only

from hookkeeper.kinds import URL
from hookkeeper.policy import HealthDefaults, HealthStatus
from hookkeeper.registry.audit import AuditEntry, add_entry
from hookkeeper.registry.models import HANGING_AFTER, Failure, UtcDateTime, Webhook
from hookkeeper.registry.storage.database import Database
from hookkeeper.registry.webhooks.targets import part_of, targets_of

RECORDING_INTERVAL = timedelta(minutes=1)
"""How often successes of a healthy webhook are recorded, and slow attempts."""
MAX_PER_TRANSACTION = 20
"""Results. On a busy machine, a transaction of a hundred took longer than a call may, and so did each repetition."""
AUTOMATIC = "hookkeeper"
"""The key in audit entries of webhooks that are disabled or enabled automatically."""
MAX_TEXT = 200
"""Characters of what a failed attempt was answered."""

DisabledReason = Literal["failing", "gone"]
"""Why a webhook was disabled automatically: it failed for too long; it answered 410."""
Answer = Literal["succeeded", "sent", "failed", "timed_out", "gone"]
"""`sent`: the provider has taken an email, and will report whether it arrives."""

DEFAULTS = HealthDefaults()
SLOW_AFTER = 2.0
"""Seconds from which on a webhook without a `slow_after` of its own is slow."""
LOST = frozenset({"bounced", "dropped"})
"""What a provider reports of an email that will not arrive."""
FILTER = "filter"
"""In `failing` beside the targets: the filter has failed on an event, which was not sent. The webhook counts as failing
at once, until the filter is changed: events that the filter takes later do not bring back the one that it left out."""
CLEAN: dict[str, None] = dict.fromkeys(("url_failing_since", "url_failures", "timeouts", "throttled_until"))
"""The records of a URL that works."""
_RECORDED = (
    *("tenant", "url", "enabled", "disabled_reason", "disabled_at", "disable_after", "alert_after"),
    *("filter_errors", "filter_error"),
    *("failing", "unhealthy_since", "failing_from", "last_success_at", "slow_at", "slow_ms", *CLEAN),
)


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of an attempt, or a provider's later report about it."""

    webhook_id: str
    answer: Answer
    at: datetime
    throttled_until: datetime | None = None
    """The URL accepts no requests before."""
    was_throttled: bool = False
    """The URL was throttled before the request, so a success ends the throttling."""
    slow: bool = False
    """It took over a second, as others before."""
    duration_ms: float | None = None
    url: str | None = None
    """Where the request went, if that is known."""
    target: str = URL.name
    """As in `failing`."""
    status_code: int | None = None
    error: str | None = None
    text: str = ""
    event_id: str = ""

    @property
    def tells_of_url(self) -> bool:
        """Whether a request was made to the webhook's URL."""
        return self.target == URL.name and self.error != "bad_template"


@dataclass(frozen=True, slots=True)
class HealthChange:
    """What a batch of results has changed for a webhook."""

    webhook_id: str
    began: bool
    """It was healthy or new, and is not any more."""
    reached: bool
    """The failures have reached its `alert_after`. Between two attempts time alone can do that: see `failing_from`."""
    recovered: bool
    """The last target that failed has succeeded."""
    failing_from: datetime | None
    """From when on it is `failing` rather than `degraded`, unless it recovers."""
    disabled: DisabledReason | None


class HealthStore:
    """Stores the health of webhooks. Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self, results: Iterable[AttemptResult], defaults: HealthDefaults = DEFAULTS, *, again: bool = False
    ) -> list[HealthChange]:
        """Record the results of a batch; return what they have changed.

        `again`: the results may have been recorded before a crash, so what is true now is returned as a change.
        """
        changes: list[HealthChange] = []
        # Ordered by id, so that batches with the same webhooks do not deadlock; those of a webhook by time.
        ordered = sorted(results, key=lambda result: (result.webhook_id, result.at))
        for n in range(0, len(ordered), MAX_PER_TRANSACTION):
            some = ordered[n : n + MAX_PER_TRANSACTION]
            async with self._database.write() as session:
                for webhook in (await session.scalars(_locked({result.webhook_id for result in some}))).all():
                    own = [result for result in some if result.webhook_id == webhook.id]
                    change = await _record(session, webhook, own, defaults, again)
                    if change.began or change.reached or change.recovered or change.disabled:
                        changes.append(change)
        return changes

    async def note_hanging(self, webhook_id: str) -> None:
        """Let the webhook count as hanging before its requests have timed out, until one of them succeeds."""
        few = func.coalesce(Webhook.timeouts, 0) < HANGING_AFTER
        async with self._database.write() as session:
            await session.execute(update(Webhook).where(Webhook.id == webhook_id, few).values(timeouts=HANGING_AFTER))

    async def enable(self, webhook_id: str, at: datetime) -> bool:
        """Enable a webhook that was disabled for failures; return whether it is enabled now."""
        query = (
            update(Webhook)
            .where(Webhook.id == webhook_id, Webhook.enabled.is_(False), Webhook.disabled_reason == "failing")
            .values(enabled=True, disabled_reason=None, disabled_at=None, updated_at=at, **CLEAN)
            .returning(Webhook.tenant)
        )
        async with self._database.write() as session:
            row = (await session.execute(query)).one_or_none()
            if row is None:
                return bool(await session.scalar(select(Webhook.enabled).where(Webhook.id == webhook_id)))
            add_entry(session, _entry("webhook.enable", webhook_id, row.tenant, "answers"))
        return True


def needs_recording(webhook: Webhook, target: str, now: datetime, *, slow: bool = False) -> bool:
    """Return whether a success must be recorded, based on the webhook as it was before the attempt.

    A failure recorded during the attempt is cleared by a later success, within a minute.
    """
    if target == URL.name and (slow or webhook.slow_ms is not None) and _is_over(webhook.slow_at, now):
        return True
    is_clean = target != URL.name or not any(getattr(webhook, name) for name in CLEAN)
    return target in webhook.failing or not is_clean or _is_over(webhook.last_success_at, now)


def health_status(webhook: Webhook, now: datetime) -> HealthStatus:
    """Return the status of a webhook, as `status_column` does."""
    if not webhook.enabled:
        return "disabled"
    if webhook.paused_at:
        return "paused"
    if webhook.failing:
        return "failing" if webhook.failing_from and webhook.failing_from <= now else "degraded"
    if (webhook.slow_ms or 0) > 1000 * (webhook.slow_after or SLOW_AFTER):
        return "slow"
    return "healthy" if webhook.last_success_at else "new"


IS_SLOW = Webhook.slow_ms > 1000 * func.coalesce(Webhook.slow_after, SLOW_AFTER)
"""Whether a webhook is slow, as the database finds it."""


def status_column(now: datetime) -> ColumnElement[Any]:
    """Return the status as the database finds it."""
    return case(
        (Webhook.enabled.is_(False), "disabled"),
        (Webhook.paused_at.is_not(None), "paused"),
        (Webhook.failing_from <= literal(now, UtcDateTime()), "failing"),
        (Webhook.unhealthy_since.is_not(None), "degraded"),
        (IS_SLOW, "slow"),
        (Webhook.last_success_at.is_not(None), "healthy"),
        else_="new",
    )


def set_failing(webhook: Webhook, failing: dict[str, Failure]) -> None:
    """Set the targets whose latest attempt has failed, and what follows from them."""
    webhook.failing = failing
    webhook.unhealthy_since = min((failure.since for failure in failing.values()), default=None)
    reached = [failure.failing_from for failure in failing.values() if failure.failing_from]
    webhook.failing_from = min(reached, default=None)


def drop_removed_targets(webhook: Webhook) -> None:
    """Forget the failures of targets that the webhook no longer has."""
    left = {part_of(target.id) for target in targets_of(webhook)} | {FILTER}
    if webhook.failing.keys() - left:
        set_failing(webhook, {name: failure for name, failure in webhook.failing.items() if name in left})


def forget_filter_errors(webhook: Webhook) -> None:
    """Let the webhook, whose filter has changed, not be failing because of the one before."""
    webhook.filter_errors = webhook.filter_error = None
    set_failing(webhook, {name: failure for name, failure in webhook.failing.items() if name != FILTER})


def begin_anew(webhook: Webhook) -> None:
    """Let the records of its URL begin anew: how long it has failed, and how much it can take."""
    for name in CLEAN:
        setattr(webhook, name, None)


class _Health(NamedTuple):
    """The health of a webhook as of the latest failure of its targets."""

    is_failing: bool
    has_reached: bool


def _health_of(webhook: Webhook) -> _Health:
    latest = max((failure.at for failure in webhook.failing.values()), default=None)
    from_ = webhook.failing_from
    return _Health(latest is not None, latest is not None and from_ is not None and from_ <= latest)


def _locked(ids: Iterable[str]) -> Select[Webhook]:
    columns = load_only(*(getattr(Webhook, name) for name in _RECORDED), raiseload=True)
    query = select(Webhook).where(Webhook.id.in_(sorted(ids))).order_by(Webhook.id)
    return query.options(columns).with_for_update(key_share=True)


async def _record(
    session: AsyncSession, webhook: Webhook, results: Sequence[AttemptResult], defaults: HealthDefaults, again: bool
) -> HealthChange:
    """Record the results of a webhook, whose row is locked by this transaction."""
    before = _health_of(webhook)
    disabled: DisabledReason | None = None
    for result in results:
        if result.answer in ("succeeded", "sent"):
            _note_success(webhook, result)
            continue
        if await _has(session, webhook, result.target):
            _note_failure(webhook, result, defaults)
        reason = _why_disable(webhook, result, defaults.disable_after)
        if reason and webhook.enabled:
            _disable(session, webhook, reason, result.at)
            disabled = reason
        elif reason == "gone" and webhook.is_disabled_for_failing:
            webhook.disabled_reason = reason  # no probe is to enable it
    if again and not webhook.enabled and webhook.disabled_reason in ("failing", "gone"):
        disabled = webhook.disabled_reason  # type: ignore[assignment]
    after = _health_of(webhook)
    return HealthChange(
        webhook.id,
        began=after.is_failing and (again or not before.is_failing),
        reached=after.has_reached and (again or not before.has_reached),
        recovered=not after.is_failing and (again or before.is_failing),
        failing_from=webhook.failing_from,
        disabled=disabled,
    )


def _note_success(webhook: Webhook, result: AttemptResult) -> None:
    """Record a success. Throttling that began during the request remains, and so does a later failure."""
    failure = webhook.failing.get(result.target)
    if failure and failure.error in LOST and (result.answer == "sent" or result.event_id == failure.event_id):
        return  # the provider takes any address, and another one of the same email may have it
    if failure and failure.at <= result.at:
        set_failing(webhook, {name: other for name, other in webhook.failing.items() if name != result.target})
    elif not needs_recording(webhook, result.target, result.at, slow=result.slow):
        return
    webhook.last_success_at = max(webhook.last_success_at or result.at, result.at)
    if not result.tells_of_url:
        return
    until = webhook.throttled_until
    begin_anew(webhook)
    if until and until > result.at and not result.was_throttled:
        webhook.throttled_until = until
    if not _is_over(webhook.slow_at, result.at):
        return
    webhook.slow_ms = result.duration_ms if result.slow else None
    if result.slow:
        webhook.slow_at = result.at


def _note_failure(webhook: Webhook, result: AttemptResult, defaults: HealthDefaults) -> None:
    set_failing(webhook, webhook.failing | {result.target: _failure(webhook, result, defaults)})
    if result.target == FILTER:
        webhook.filter_errors, webhook.filter_error = (webhook.filter_errors or 0) + 1, result.text
    if not result.tells_of_url:
        return
    webhook.url_failures = (webhook.url_failures or 0) + 1
    webhook.timeouts = (webhook.timeouts or 0) + 1 if result.answer == "timed_out" else None
    webhook.url_failing_since = webhook.url_failing_since or result.at
    webhook.slow_ms = None
    if result.slow:
        webhook.slow_at = result.at
    if result.throttled_until:
        webhook.throttled_until = max(webhook.throttled_until or result.throttled_until, result.throttled_until)


def _failure(webhook: Webhook, result: AttemptResult, defaults: HealthDefaults) -> Failure:
    """Return the entry of a target after a failure, which may be older than the latest one."""
    before = webhook.failing.get(result.target)
    since, failures = (min(before.since, result.at), before.failures + 1) if before else (result.at, 1)
    limit = webhook.alert_after or defaults.alert_after
    failing_from = since if result.target == FILTER else limit.reached_at(since, failures)
    counted = {"since": since, "failures": failures, "failing_from": failing_from}
    if before and before.at > result.at:
        return before.model_copy(update=counted)
    return Failure(
        at=result.at,
        status_code=result.status_code,
        error=result.error,
        text=result.text,
        event_id=result.event_id,
        **counted,
    )


async def _has(session: AsyncSession, webhook: Webhook, target: str) -> bool:
    """Return whether the webhook still has this target, which it may have lost during the attempt."""
    if target in webhook.failing:
        return True
    if target == URL.name:
        return bool(webhook.url)
    if target == FILTER:
        await session.refresh(webhook, ("filter",))
        return bool(webhook.filter)
    await session.refresh(webhook, ("targets",))
    return any(part_of(each.id) == target for each in targets_of(webhook))


def _why_disable(webhook: Webhook, result: AttemptResult, disable_after: float | None) -> DisabledReason | None:
    if not result.tells_of_url:
        return None
    if result.answer == "gone":
        return "gone" if result.url in (None, webhook.url) else None  # the URL was corrected during the request
    limit = disable_after if webhook.disable_after is None else webhook.disable_after
    since = webhook.url_failing_since or result.at
    return "failing" if limit and (result.at - since).total_seconds() >= limit else None


def _disable(session: AsyncSession, webhook: Webhook, reason: DisabledReason, at: datetime) -> None:
    webhook.enabled, webhook.disabled_reason = False, reason
    webhook.disabled_at = webhook.updated_at = at
    add_entry(session, _entry("webhook.disable", webhook.id, webhook.tenant, reason))


def _is_over(last: datetime | None, now: datetime) -> bool:
    return last is None or last <= now - RECORDING_INTERVAL


def _entry(action: str, webhook_id: str, tenant: str, reason: str) -> AuditEntry:
    return AuditEntry(
        key_id=AUTOMATIC,
        key_name=AUTOMATIC,
        action=action,
        object_id=webhook_id,
        tenant=tenant,
        detail={"reason": reason},
    )
