"""The alert state of webhooks: at most one alert for failed deliveries an hour, and none twice.

A disabled webhook always causes an alert, and another one when it works again. Before an alert is sent, it is claimed
with a token that identifies it, so a claim can be repeated after a crash.
"""

from datetime import datetime, timedelta

from sqlalchemy import select

from hookkeeper.content.context import AlertKind
from hookkeeper.registry.database import Database
from hookkeeper.registry.models import AlertState, Webhook
from hookkeeper.times import utc_now

ALERT_INTERVAL = timedelta(hours=1)
MAX_RECENT_TOKENS = 20


class AlertClaims:
    """Stores the alert state of webhooks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, webhook_id: str, kind: AlertKind, delivery: str, token: str) -> int | None:
        """Claim an alert; return the number of failures since the last alert that had none.

        None if this alert must not be sent. A failed delivery is then counted for the next alert.
        """
        query = select(Webhook).where(Webhook.id == webhook_id).with_for_update()
        async with self._database.write() as session:
            webhook = await session.scalar(query)
            if webhook is None:
                return None
            last, now = webhook.alert, utc_now()
            if last and last.token == token:
                return last.reported
            if not _is_due(webhook, kind, now):
                if kind == "failed" and last and token not in last.recent:
                    recent = (*last.recent, token)[-MAX_RECENT_TOKENS:]
                    webhook.alert = last.model_copy(update={"unreported": last.unreported + 1, "recent": recent})
                return None
            reported = last.unreported if last else 0
            known = last.disabled_at if last else None
            disabled_at = webhook.disabled_at if kind == "disabled" else known
            webhook.alert = AlertState(
                at=now, kind=kind, delivery=delivery, token=token, reported=reported, disabled_at=disabled_at
            )
            return reported


def has_recovered(webhook: Webhook, delivery: str) -> bool:
    """Return whether a success of this delivery needs an alert: its failure had one, and another alert may be sent."""
    last = webhook.alert
    if last is None or last.delivery != delivery or not webhook.enabled:
        return False
    return _is_due(webhook, "recovered", utc_now())


def _is_due(webhook: Webhook, kind: AlertKind, now: datetime) -> bool:
    last = webhook.alert
    # An alert of the future was claimed by a worker whose clock was ahead. It must not prevent all until then.
    hour_is_over = last is None or abs(now - last.at) >= ALERT_INTERVAL
    match kind:
        case "failed":
            return hour_is_over
        case "disabled":  # automatically, still disabled, and without an alert so far
            known = last is not None and last.disabled_at == webhook.disabled_at
            return not webhook.enabled and webhook.disabled_reason != "manual" and not known
        case "recovered":
            return last is not None and (last.kind == "disabled" or (last.kind == "failed" and hour_is_over))
