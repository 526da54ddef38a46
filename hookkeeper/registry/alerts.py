"""Who was told what of a webhook, and when: at most one failed delivery an hour, and nothing twice.

That a webhook was disabled is always told, and then, whenever that is, that it works again.

The right to alert is claimed with a token that names the alert. Whoever claimed it and was killed can claim it again.
"""

from datetime import datetime, timedelta

from sqlalchemy import select

from hookkeeper.content.context import AlertKind
from hookkeeper.registry.database import Database
from hookkeeper.registry.models import AlertState, Webhook, utc_now

ALERT_EVERY = timedelta(hours=1)
KEPT_TOKENS = 20


class Alerts:
    """Keep the alert state of webhooks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, webhook_id: str, kind: AlertKind, delivery: str, token: str) -> int | None:
        """Claim the right to alert; give how many failures were folded since the last one.

        None where this one is not to be told: a failed delivery is counted for the next alert then.
        """
        query = select(Webhook).where(Webhook.id == webhook_id).with_for_update()
        async with self._database.write() as session:
            webhook = await session.scalar(query)
            if webhook is None:
                return None
            last, now = webhook.alert, utc_now()
            if last and last.token == token:
                return last.told
            if not _is_due(webhook, kind, now):
                if kind == "failed" and last and token not in last.recent:
                    recent = (*last.recent, token)[-KEPT_TOKENS:]
                    webhook.alert = last.model_copy(update={"folded": last.folded + 1, "recent": recent})
                return None
            told = last.folded if last else 0
            known = last.disabled_at if last else None
            disabled_at = webhook.disabled_at if kind == "disabled" else known
            webhook.alert = AlertState(
                at=now, kind=kind, delivery=delivery, token=token, told=told, disabled_at=disabled_at
            )
            return told


def has_recovered(webhook: Webhook, delivery: str) -> bool:
    """Say whether a success of this delivery is news: its failure was told of, and another alert may be sent."""
    last = webhook.alert
    if last is None or last.delivery != delivery or not webhook.enabled:
        return False
    return _is_due(webhook, "recovered", utc_now())


def _is_due(webhook: Webhook, kind: AlertKind, now: datetime) -> bool:
    last = webhook.alert
    hour_is_over = last is None or now >= last.at + ALERT_EVERY
    match kind:
        case "failed":
            return hour_is_over
        case "disabled":  # by nobody, and nobody has mended it since, and no other run tells of it
            known = last is not None and last.disabled_at == webhook.disabled_at
            return not webhook.enabled and webhook.disabled_reason != "manual" and not known
        case "recovered":
            return last is not None and (last.kind == "disabled" or (last.kind == "failed" and hour_is_over))
