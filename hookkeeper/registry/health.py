"""The health of a webhook's URL, from the results of its requests.

Each result is a single UPDATE without a read, so workers can record concurrently. A success of a healthy webhook is
recorded once a minute only (`needs_recording`), and so is one that took long.

A result may be recorded twice if its activity is retried: a success is idempotent, a failure increases the counter but
changes no time. The counters are approximate; the run's history is exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Executable, Row, Update, and_, case, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from hookkeeper.registry.audit import AuditEntry, add_entry
from hookkeeper.registry.database import Database
from hookkeeper.registry.models import UtcDateTime, Webhook

RECORDING_INTERVAL = timedelta(minutes=1)
"""How often successes of a healthy webhook are recorded, and slow attempts."""
MAX_PER_TRANSACTION = 20
"""Results. On a busy machine, a transaction of a hundred took longer than a call may, and so did each repetition."""
AUTOMATIC = "hookkeeper"
"""The key in audit entries of webhooks that are disabled or enabled automatically."""

DisabledReason = Literal["failing", "gone"]
"""Why a webhook was disabled automatically: it failed for too long; it answered 410."""
Status = Literal["healthy", "failing", "degraded", "throttled", "unknown"]

CLEAN: dict[str, None] = dict.fromkeys(("failing_since", "failures", "timeouts", "throttled_until"))
"""The columns of a healthy webhook."""


@dataclass(frozen=True, slots=True)
class RequestResult:
    """The result of a request to a webhook's URL."""

    webhook_id: str
    answer: Literal["succeeded", "failed", "timed_out", "gone"]
    at: datetime
    throttled_until: datetime | None = None
    """It accepts no requests before."""
    was_throttled: bool = False
    """The webhook was throttled before the request, so a success ends the throttling."""
    slow: bool = False
    """It took over a second, as others before."""
    url: str | None = None
    """Where the request went, if that is known."""


class HealthStore:
    """Stores the health of webhooks. Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self, results: Iterable[RequestResult], disable_after: float | None = None, *, again: bool = False
    ) -> dict[str, DisabledReason]:
        """Record the results of a batch; return the webhooks that it has disabled, and why.

        `disable_after`: seconds of failures for webhooks without their own setting; None or 0 is never. `again`: the
        results may have been recorded before a crash, so webhooks disabled then are returned too.
        """
        disabled: dict[str, DisabledReason] = {}
        # Ordered by id, so that batches with the same webhooks do not deadlock; those of a webhook by time.
        ordered = sorted(results, key=lambda result: (result.webhook_id, result.at))
        for n in range(0, len(ordered), MAX_PER_TRANSACTION):
            async with self._database.write() as session:
                for result in ordered[n : n + MAX_PER_TRANSACTION]:
                    if reason := await _record(session, result, disable_after, again):
                        disabled[result.webhook_id] = reason
        return disabled

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


def needs_recording(webhook: Webhook, now: datetime, *, slow: bool = False) -> bool:
    """Return whether a success must be recorded, based on the webhook as it was before the request.

    A failure recorded during the request is cleared by a later success, within a minute.
    """
    if slow and _is_over(webhook.slow_at, now):
        return True
    return _is_over(webhook.last_success_at, now) or any(getattr(webhook, name) for name in CLEAN)


def _is_over(last: datetime | None, now: datetime) -> bool:
    return last is None or last <= now - RECORDING_INTERVAL


def reset_health(webhook: Webhook) -> None:
    """Clear what has been recorded of failures."""
    for name in CLEAN:
        setattr(webhook, name, None)


def status_of(webhook: Webhook, now: datetime) -> Status:
    """Return the status of its URL; of several, the one with the greatest effect on deliveries."""
    if webhook.throttled_until and now < webhook.throttled_until:
        return "throttled"
    if webhook.is_degraded:
        return "degraded"
    if webhook.failures:
        return "failing"
    return "healthy" if webhook.last_success_at else "unknown"


async def _record(
    session: AsyncSession, result: RequestResult, disable_after: float | None, again: bool
) -> DisabledReason | None:
    """Record a result; return why it has disabled the webhook, if it has."""
    if result.answer == "succeeded":
        await session.execute(_success(result))
        return None
    row = (await session.execute(_failure(result))).one_or_none()
    if row is None:  # deleted meanwhile
        return None
    if row.enabled and (reason := _why_disable(row, result, disable_after)):
        await _disable(session, row, reason, result.at)
        return reason
    if again and not row.enabled and row.disabled_reason in ("failing", "gone"):
        return row.disabled_reason  # type: ignore[no-any-return]
    return None


def _success(result: RequestResult) -> Update:
    """Return the UPDATE for a success. Throttling that began during the request remains."""
    values: dict[str, Any] = {**CLEAN, "last_success_at": result.at}
    if not result.was_throttled:
        over = Webhook.throttled_until <= result.at
        values["throttled_until"] = case((over, None), else_=Webhook.throttled_until)
    is_due = [_is_due(Webhook.last_success_at, result), *(getattr(Webhook, name).is_not(None) for name in CLEAN)]
    if result.slow:
        values["slow_at"] = result.at
        is_due.append(_is_due(Webhook.slow_at, result))
    return update(Webhook).where(Webhook.id == result.webhook_id, or_(*is_due)).values(values)


def _is_due(recorded: InstrumentedAttribute[datetime | None], result: RequestResult) -> ColumnElement[bool]:
    return or_(recorded.is_(None), recorded <= result.at - RECORDING_INTERVAL)


def _failure(result: RequestResult) -> Executable:
    """Return the UPDATE for a failure, with the columns that decide whether the webhook is disabled."""
    at = literal(result.at, UtcDateTime())
    timeouts = func.coalesce(Webhook.timeouts, 0) + 1 if result.answer == "timed_out" else None
    values: dict[str, Any] = {
        "failures": func.coalesce(Webhook.failures, 0) + 1,
        "timeouts": timeouts,
        "failing_since": func.coalesce(Webhook.failing_since, at),
    }
    if result.slow:
        values["slow_at"] = at
    if result.throttled_until:
        until = literal(result.throttled_until, UtcDateTime())
        longer = and_(Webhook.throttled_until.is_not(None), Webhook.throttled_until > until)
        values["throttled_until"] = case((longer, Webhook.throttled_until), else_=until)
    columns = (
        *(Webhook.id, Webhook.tenant, Webhook.enabled, Webhook.disabled_reason),
        *(Webhook.failing_since, Webhook.disable_after, Webhook.url),
    )
    return update(Webhook).where(Webhook.id == result.webhook_id).values(values).returning(*columns)


def _why_disable(row: Row[Any], result: RequestResult, disable_after: float | None) -> DisabledReason | None:
    if result.answer == "gone":
        return "gone" if result.url in (None, row.url) else None  # the URL was corrected during the request
    limit = disable_after if row.disable_after is None else row.disable_after
    too_long = limit and (result.at - row.failing_since).total_seconds() >= limit
    return "failing" if too_long else None


async def _disable(session: AsyncSession, row: Row[Any], reason: DisabledReason, at: datetime) -> None:
    """Disable a webhook whose row is locked by this transaction."""
    values = {"enabled": False, "disabled_reason": reason, "disabled_at": at, "updated_at": at}
    await session.execute(update(Webhook).where(Webhook.id == row.id).values(values))
    add_entry(session, _entry("webhook.disable", row.id, row.tenant, reason))


def _entry(action: str, webhook_id: str, tenant: str, reason: str) -> AuditEntry:
    return AuditEntry(
        key_id=AUTOMATIC,
        key_name=AUTOMATIC,
        action=action,
        object_id=webhook_id,
        tenant=tenant,
        detail={"reason": reason},
    )
