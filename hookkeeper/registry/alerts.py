"""Which alerts of webhooks are due: of deliveries that have failed for good, and of the incidents of webhooks.

An incident alerts when its webhook is `failing`, reminds at growing intervals, warns before the webhook is disabled,
and says that it was disabled, or works again. What it has alerted is in the row, not in its run: `due` decides on it. A
delivery that has failed is alerted at most once an hour, and not while its webhook is failing.

Before an alert is sent, it is claimed with a token that identifies it, so a claim can be repeated after a crash.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Select, select

from hookkeeper.content.context import AlertKind
from hookkeeper.registry.database import Database
from hookkeeper.registry.models import MOVING, AlertState, IncidentState, LastAlert, Webhook
from hookkeeper.times import utc_now

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALERT_INTERVAL = HOUR
"""The time at least from an alert `failed`, or `failing`, to the next one."""
REMINDERS = (HOUR, 4 * HOUR, 12 * HOUR, DAY)
"""Time before each reminder; then always the last one."""
WARNINGS = (HOUR, DAY)
"""Time before a webhook is disabled automatically, for each of which there is a warning."""
MAX_RECENT_TOKENS = 20
State = TypeVar("State", bound=LastAlert)


@dataclass(frozen=True, slots=True)
class Due:
    """What an incident has to do: alert, or wait."""

    kind: AlertKind | None = None
    wait: timedelta | None = None
    """Until the next look; None: the incident is over."""
    is_counted: bool = False
    """The failures have no alert for now, and are counted for the next one."""


class AlertClaims:
    """Stores what was alerted of webhooks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, webhook_id: str, kind: AlertKind, delivery: str, token: str) -> int | None:
        """Claim an alert of a delivery; return the number of failures since the last alert that had none.

        None if this alert must not be sent. A failed delivery is then counted for the next alert.
        """
        async with self._database.write() as session:
            webhook = await session.scalar(_locked(webhook_id))
            if webhook is None:
                return None
            last, now = webhook.alert, utc_now()
            if last and last.token == token:
                return last.reported
            if not _is_due(webhook, kind, now):
                if kind == "failed":
                    _count(webhook, token, now)
                return None
            reported = last.unreported if last else 0
            known = last.disabled_at if last else None
            disabled_at = webhook.disabled_at if kind == "disabled" else known
            webhook.alert = AlertState(
                at=now, kind=kind, delivery=delivery, token=token, reported=reported, disabled_at=disabled_at
            )
            return reported

    async def claim_step(
        self, webhook_id: str, token: str, now: datetime, disable_after: timedelta | None
    ) -> tuple[Webhook, Due] | None:
        """Claim the alert of the webhook's incident that is due, if one is; None if the webhook was deleted.

        `disable_after`: for webhooks without a setting of their own; None is never.
        """
        async with self._database.write() as session:
            webhook = await session.scalar(_locked(webhook_id))
            if webhook is None:
                return None
            step = due(webhook, now, disable_after)
            if webhook.incident and webhook.incident.token == token:
                return webhook, Due(webhook.incident.kind, step.wait)
            if step.is_counted and webhook.incident:
                webhook.incident = _counted(webhook.incident, _streak(webhook))
            if step.kind is None:
                return webhook, step
            webhook.incident = _alerted(webhook, step.kind, token, now, disable_after)
            return webhook, Due(step.kind, due(webhook, now, disable_after).wait)


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
        "reported": base.unreported - (_streak(webhook) in base.recent),
        "unreported": 0,
        "recent": (),
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


def _is_due(webhook: Webhook, kind: AlertKind, now: datetime) -> bool:
    """Return whether an alert of a delivery is due. Those of the kinds after the first come from runs of 0.1."""
    last = webhook.alert
    hour_is_over = last is None or abs(now - last.at) >= ALERT_INTERVAL
    match kind:
        case "failed":
            return hour_is_over and not _has_incident(webhook, now)
        case "disabled":
            return _is_off(webhook) and not _is_known(webhook)
        case "recovered":
            return last is not None and (last.kind == "disabled" or (last.kind == "failed" and hour_is_over))
        case _:
            return False


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
    return any(
        last is not None and last.disabled_at == webhook.disabled_at for last in (webhook.alert, webhook.incident)
    )


def _count(webhook: Webhook, token: str, now: datetime) -> None:
    """Count a failure that has no alert of its own for the next alert."""
    if webhook.incident and _has_incident(webhook, now):
        webhook.incident = _counted(webhook.incident, token)
    elif webhook.alert:
        webhook.alert = _counted(webhook.alert, token)


def _counted(last: State, token: str) -> State:
    if token in last.recent:
        return last
    recent = (*last.recent, token)[-MAX_RECENT_TOKENS:]
    return last.model_copy(update={"unreported": last.unreported + 1, "recent": recent})


def _locked(webhook_id: str) -> Select[Webhook]:
    return select(Webhook).where(Webhook.id == webhook_id).with_for_update()
