"""How a webhook's URL is doing, told from what the requests to it came to.

Each request's result is one UPDATE that needs no earlier read, so that any number of workers can note at once. Few are
written: a success of a healthy webhook is news once a minute (`is_news`).

What is noted twice, since the activity that noted it was tried again, does no harm: a success sets what it has set, a
failure counts once more and moves no time. The numbers say how bad it is, and are no account: the run's history is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Executable, Row, Update, and_, case, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.registry.audit import AuditEntry, note
from hookkeeper.registry.database import Database
from hookkeeper.registry.models import UtcDateTime, Webhook
from hookkeeper.registry.pacing import is_degraded

SUCCESS_EVERY = timedelta(minutes=1)
"""A healthy webhook's successes are noted this often."""
OURSELVES = "hookkeeper"
"""Who disables and enables webhooks when nobody does, as the audit log names it."""

DisabledReason = Literal["failing", "gone"]
"""Why a webhook was disabled by nobody: nothing but failures for too long; it answered 410."""
Status = Literal["healthy", "failing", "degraded", "throttled", "unknown"]

CLEAN: dict[str, None] = dict.fromkeys(("failing_since", "failures", "timeouts", "throttled_until"))
"""The columns of a webhook with nothing against it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one request to a webhook's URL came to."""

    webhook_id: str
    answer: Literal["succeeded", "failed", "timed_out", "gone"]
    at: datetime
    throttled_until: datetime | None = None
    """It wants no requests before."""
    knowingly: bool = False
    """Of a success: the request was made although the webhook was known to be throttled, so that it no longer is."""


class HealthStore:
    """Keep how webhooks are doing. Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(
        self, results: Iterable[Result], disable_after: float | None = None, *, again: bool = False
    ) -> dict[str, DisabledReason]:
        """Keep what a round came to, all of it or nothing; give the webhooks that this has disabled, and why.

        `disable_after`: seconds of nothing but failures, for webhooks that do not say; None or 0 is never. `again`:
        this may have been noted before by a caller that did not live to hear the answer, so the answer is the same.
        """
        disabled: dict[str, DisabledReason] = {}
        async with self._database.write() as session:
            # In the order of ids: rounds with the same webhooks wait for each other, and never crosswise.
            for result in sorted(results, key=lambda result: result.webhook_id):
                if result.answer == "succeeded":
                    await session.execute(_success(result))
                    continue
                row = (await session.execute(_failure(result))).one_or_none()
                if row is None:  # deleted meanwhile
                    continue
                if row.enabled and (reason := _why_disable(row, result, disable_after)):
                    await _disable(session, row, reason, result.at)
                    disabled[result.webhook_id] = reason
                elif again and not row.enabled and row.disabled_reason in ("failing", "gone"):
                    disabled[result.webhook_id] = row.disabled_reason
        return disabled

    async def enable(self, webhook_id: str, at: datetime) -> bool:
        """Enable a webhook that was disabled for failing, and answers again; say whether it is enabled now."""
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
            note(session, _entry("webhook.enable", webhook_id, row.tenant, "answers"))
        return True


def is_news(webhook: Webhook, now: datetime) -> bool:
    """Return whether a success is worth a write, going by the webhook as it was when the request was made.

    A failure that was noted while that request was under way is forgotten by the next success then: within a minute,
    or with the first one after it.
    """
    last = webhook.last_success_at
    return last is None or last <= now - SUCCESS_EVERY or any(getattr(webhook, name) for name in CLEAN)


def reset_health(webhook: Webhook) -> None:
    """Hold nothing against a webhook that somebody gives another chance."""
    for name in CLEAN:
        setattr(webhook, name, None)


def status_of(webhook: Webhook, now: datetime) -> Status:
    """Say in a word how its URL is doing; of what holds at once, what matters most to its deliveries."""
    if webhook.throttled_until and now < webhook.throttled_until:
        return "throttled"
    if is_degraded(webhook):
        return "degraded"
    if webhook.failures:
        return "failing"
    return "healthy" if webhook.last_success_at else "unknown"


def _success(result: Result) -> Update:
    """Clear what is against the webhook. One that was throttled while the request was under way stays so till then."""
    values: dict[str, Any] = {**CLEAN, "last_success_at": result.at}
    if not result.knowingly:
        over = Webhook.throttled_until <= result.at
        values["throttled_until"] = case((over, None), else_=Webhook.throttled_until)
    news = [Webhook.last_success_at.is_(None), Webhook.last_success_at <= result.at - SUCCESS_EVERY]
    against = [getattr(Webhook, name).is_not(None) for name in CLEAN]
    return update(Webhook).where(Webhook.id == result.webhook_id, or_(*news, *against)).values(values)


def _failure(result: Result) -> Executable:
    """Count one more; give what decides whether it was one too many."""
    at = literal(result.at, UtcDateTime())
    timeouts = func.coalesce(Webhook.timeouts, 0) + 1 if result.answer == "timed_out" else None
    values: dict[str, Any] = {
        "failures": func.coalesce(Webhook.failures, 0) + 1,
        "timeouts": timeouts,
        "failing_since": func.coalesce(Webhook.failing_since, at),
    }
    if result.throttled_until:
        until = literal(result.throttled_until, UtcDateTime())
        longer = and_(Webhook.throttled_until.is_not(None), Webhook.throttled_until > until)
        values["throttled_until"] = case((longer, Webhook.throttled_until), else_=until)
    columns = (
        *(Webhook.id, Webhook.tenant, Webhook.enabled, Webhook.disabled_reason),
        *(Webhook.failing_since, Webhook.disable_after),
    )
    return update(Webhook).where(Webhook.id == result.webhook_id).values(values).returning(*columns)


def _why_disable(row: Row[Any], result: Result, disable_after: float | None) -> DisabledReason | None:
    if result.answer == "gone":
        return "gone"
    limit = disable_after if row.disable_after is None else row.disable_after
    too_long = limit and (result.at - row.failing_since).total_seconds() >= limit
    return "failing" if too_long else None


async def _disable(session: AsyncSession, row: Row[Any], reason: DisabledReason, at: datetime) -> None:
    """Disable a webhook whose row this transaction has locked: nobody else does."""
    values = {"enabled": False, "disabled_reason": reason, "disabled_at": at, "updated_at": at}
    await session.execute(update(Webhook).where(Webhook.id == row.id).values(values))
    note(session, _entry("webhook.disable", row.id, row.tenant, reason))


def _entry(action: str, webhook_id: str, tenant: str, reason: str) -> AuditEntry:
    return AuditEntry(
        key_id=OURSELVES,
        key_name=OURSELVES,
        action=action,
        object_id=webhook_id,
        tenant=tenant,
        detail={"reason": reason},
    )
