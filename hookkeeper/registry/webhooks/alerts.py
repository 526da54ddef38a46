"""Which alerts of webhooks are due: of deliveries that have failed for good, and of the webhooks themselves.

The incident of a webhook alerts when it is `failing`, reminds at growing intervals, warns before the webhook is
disabled, and says that it was disabled, or works again. What it has alerted is in the row, not in its run: `due`
decides on it.

A delivery that fails for good is noted with the step of its run. The incident tells of all that are noted by one alert,
at most once an hour. What fails within the hour, and while the webhook is failing, is counted for the next alert.

Before an alert is sent, it is claimed with a token that identifies it, so a claim can be repeated after a crash.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from sqlalchemy import Select, and_, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.content.context import AlertKind
from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.events.tables import deliveries, pending_alerts
from hookkeeper.registry.models import MOVING, AlertState, IncidentState, Webhook
from hookkeeper.registry.storage.database import Database

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALERT_INTERVAL = HOUR
"""The time at least from an alert `failed`, or `failing`, to the next one."""
REMINDERS = (HOUR, 4 * HOUR, 12 * HOUR, DAY)
"""Time before each reminder; then always the last one."""
WARNINGS = (HOUR, DAY)
"""Time before a webhook is disabled automatically, for each of which there is a warning."""
MAX_TOLD = 10
"""Failed deliveries that an alert lists besides the one that it names."""
pending = pending_alerts.c
State = TypeVar("State", bound=AlertState)


@dataclass(frozen=True, slots=True)
class Due:
    """What an incident has to do: alert, or wait."""

    kind: AlertKind | None = None
    wait: timedelta | None = None
    """Until the next look; None: the incident is over."""
    is_counted: bool = False
    """The failures have no alert for now, and are counted for the next one."""


class Failed(NamedTuple):
    """A delivery that has failed for good, as its row has it."""

    event_id: str
    delivery_id: str
    type: str
    channel: str
    reason: str | None
    attempts: int
    status_code: int | None
    error: str | None


class Claim(NamedTuple):
    """What a look has found, and claimed."""

    webhook: Webhook
    due: Due
    failed: Sequence[Failed] = ()
    """For an alert `failed`: the deliveries that it tells of, the latest first."""


class AlertClaims:
    """Stores what was alerted of webhooks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def noted(self, webhook_ids: Collection[str] | None = None) -> dict[str, str]:
        """Return the tenants of webhooks with failed deliveries that no look has found: of these webhooks, or of all.

        At most a thousand webhooks.
        """
        query = select(pending.webhook_id, pending.tenant).where(pending.token.is_(None)).distinct().limit(1000)
        if webhook_ids is not None:
            query = query.where(pending.webhook_id.in_(webhook_ids))
        async with self._database.read() as session:
            return {row.webhook_id: row.tenant for row in await session.execute(query)}

    async def claim(self, webhook_id: str, token: str, now: datetime, disable_after: timedelta | None) -> Claim | None:
        """Claim the alert that is due, if one is; None if the webhook was deleted.

        `disable_after`: for webhooks without a setting of their own; None is never.
        """
        async with self._database.write() as session:
            webhook = await session.scalar(_locked(webhook_id))
            if webhook is None:
                await session.execute(delete(pending_alerts).where(pending.webhook_id == webhook_id))
                return None
            step = due(webhook, now, disable_after)
            if webhook.incident and webhook.incident.token == token:
                return Claim(webhook, Due(webhook.incident.kind, step.wait))
            if failed := await _claim_failed(session, webhook, token, now):
                return Claim(webhook, Due("failed", step.wait), failed)
            if step.is_counted and webhook.incident:
                webhook.incident = _counted(webhook.incident, _streak(webhook))
            if step.kind is None:
                return Claim(webhook, step)
            webhook.incident = _alerted(webhook, step.kind, token, now, disable_after)
            return Claim(webhook, Due(step.kind, due(webhook, now, disable_after).wait))


async def _claim_failed(session: AsyncSession, webhook: Webhook, token: str, now: datetime) -> Sequence[Failed]:
    """Claim the alert of failed deliveries. If none is due, count them for the next alert of the webhook.

    What was redelivered since is not told.
    """
    last = webhook.alert or AlertState(at=BEGINNING, token="")
    is_repeated = last.token == token
    if not is_repeated:  # what the alert before has claimed is told
        own = pending.webhook_id == webhook.id
        await session.execute(delete(pending_alerts).where(own, pending.token.is_not(None)))
        await session.execute(update(pending_alerts).where(own).values(token=token))
    is_delivery = and_(
        deliveries.c.accepted_at == pending.accepted_at,
        deliveries.c.tenant == pending.tenant,
        deliveries.c.event_id == pending.event_id,
        deliveries.c.id == pending.delivery_id,
    )
    of_delivery = (deliveries.c[name] for name in ("type", "channel", "reason", "attempts", "status_code", "error"))
    query = select(pending.event_id, pending.delivery_id, *of_delivery).join_from(
        pending_alerts, deliveries, is_delivery
    )
    is_told = pending.webhook_id == webhook.id, pending.token == token, deliveries.c.status == "failed"
    rows = await session.execute(query.where(*is_told).order_by(pending.at.desc()))
    failed = [Failed(*row) for row in rows]
    if is_repeated or not failed:
        return failed
    if _is_due(webhook, now):
        webhook.alert = AlertState(at=now, token=token, reported=last.unreported + len(failed) - 1)
        return failed
    if webhook.incident and _has_incident(webhook, now):
        webhook.incident = _with_more(webhook.incident, len(failed))
    else:
        webhook.alert = _with_more(last, len(failed))
    return ()


def due(webhook: Webhook, now: datetime, disable_after: timedelta | None) -> Due:
    """Return what the incident of a webhook has to do now."""
    last = webhook.incident
    is_open = last is not None and last.is_open
    if _is_off(webhook):
        return Due("disabled" if not _is_known(webhook) else None)
    if not webhook.failing:
        return Due("recovered" if is_open else None)
    if not webhook.enabled or webhook.paused_at:
        return Due(wait=DAY)
    if last is None or not is_open:
        return _first(webhook, last, now)
    limit = disable_at(webhook, disable_after)
    if limit and _warning(webhook, last, limit - now, disable_after):
        return Due("disabling", timedelta())
    next_reminder = last.at + REMINDERS[min(last.reminders, len(REMINDERS) - 1)]
    if next_reminder <= now:
        return Due("reminder", timedelta())
    warnings = [limit - lead for lead in WARNINGS if limit - lead > now] if limit else []
    return Due(wait=min([next_reminder, *warnings]) - now)


def disable_at(webhook: Webhook, disable_after: timedelta | None) -> datetime | None:
    """Return when a further failure of its URL disables the webhook; None: never, or the URL does not fail."""
    limit = _limit(webhook, disable_after)
    return webhook.url_failing_since + limit if webhook.url_failing_since and limit else None


def _first(webhook: Webhook, last: IncidentState | None, now: datetime) -> Due:
    """Return whether the failures are worth an alert, which is at most one an hour."""
    if webhook.failing_from is None:
        return Due(wait=DAY)
    if webhook.failing_from > now:
        return Due(wait=webhook.failing_from - now)
    # An alert of the future was claimed by a worker whose clock was ahead. It must not prevent all until then.
    if last and last.failing_at and abs(now - last.failing_at) < ALERT_INTERVAL:
        return Due(wait=ALERT_INTERVAL - abs(now - last.failing_at), is_counted=True)
    return Due("failing", timedelta())


def _warning(webhook: Webhook, last: IncidentState, left: timedelta, disable_after: timedelta | None) -> float | None:
    """Return the seconds of the warning that is due before the webhook is disabled."""
    limit = _limit(webhook, disable_after) or timedelta()
    for lead in WARNINGS:
        if timedelta() < left <= lead < limit:
            seconds = lead.total_seconds()
            return seconds if last.warned is None or last.warned > seconds else None
    return None


def _limit(webhook: Webhook, disable_after: timedelta | None) -> timedelta | None:
    if webhook.disable_after is None:
        return disable_after
    return timedelta(seconds=webhook.disable_after)


def _alerted(
    webhook: Webhook, kind: AlertKind, token: str, now: datetime, disable_after: timedelta | None
) -> IncidentState:
    """Return the state of an incident after an alert."""
    last = webhook.incident
    begins = kind == "failing" or last is None or not last.is_open
    base = IncidentState(at=now, kind=kind, token=token, key=token) if last is None else last
    limit = disable_at(webhook, disable_after)
    changes = {
        "at": now,
        "kind": kind,
        "token": token,
        "reported": base.unreported - (_streak(webhook) == base.streak),
        "unreported": 0,
        "streak": "",
        "since": webhook.unhealthy_since if begins else base.since,
        "key": token if begins else base.key,
        "failing_at": now if kind == "failing" else base.failing_at,
        "reminders": 0 if begins else base.reminders + (kind == "reminder"),
        "warned": None if begins else base.warned,
        "disabled_at": webhook.disabled_at if kind == "disabled" else base.disabled_at,
    }
    if kind == "disabling" and limit:
        changes["warned"] = _warning(webhook, base, limit - now, disable_after)
    return IncidentState.model_validate(base.model_dump() | changes)


def _streak(webhook: Webhook) -> str:
    """Name the present failures, so that they are counted once."""
    return f"since {webhook.unhealthy_since}"


def _is_due(webhook: Webhook, now: datetime) -> bool:
    """Return whether an alert of failed deliveries is due."""
    hour_is_over = webhook.alert is None or abs(now - webhook.alert.at) >= ALERT_INTERVAL
    return hour_is_over and not _has_incident(webhook, now)


def _has_incident(webhook: Webhook, now: datetime) -> bool:
    """Return whether its incident alerts, or has alerted, of what fails now."""
    is_open = webhook.incident is not None and webhook.incident.is_open
    is_failing = webhook.failing_from is not None and webhook.failing_from <= now
    return is_open or is_failing or _is_off(webhook)


def _is_off(webhook: Webhook) -> bool:
    """Return whether the webhook was disabled automatically, and still is."""
    return not webhook.enabled and webhook.disabled_reason not in ("manual", MOVING)


def _is_known(webhook: Webhook) -> bool:
    """Return whether there was an alert that the webhook was disabled."""
    return webhook.incident is not None and webhook.incident.disabled_at == webhook.disabled_at


def _counted(last: IncidentState, streak: str) -> IncidentState:
    """Count failures of the webhook that have no alert of their own, once."""
    return last if last.streak == streak else _with_more(last, 1).model_copy(update={"streak": streak})


def _with_more(last: State, failures: int) -> State:
    return last.model_copy(update={"unreported": last.unreported + failures})


def _locked(webhook_id: str) -> Select[Webhook]:
    return select(Webhook).where(Webhook.id == webhook_id).with_for_update()
