"""Who was told what of a webhook, and when: at most one alert an hour, and none is told twice.

The right to alert is claimed with a token that names the alert. Whoever claimed it and was killed can claim it again.
"""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from elements.context import AlertKind
from registry.database import reaching_database
from registry.models import AlertState, Webhook, utc_now

ALERT_EVERY = timedelta(hours=1)
KEPT_TOKENS = 20


class Alerts:
    """Keep the alert state of webhooks."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._writes = async_sessionmaker(engine, expire_on_commit=False)

    async def claim(self, webhook_id: str, kind: AlertKind, delivery: str, token: str) -> int | None:
        """Claim the right to alert; give how many failures were folded since the last one.

        None where the last alert is less than an hour ago: a failure is counted for the next one then.
        """
        query = select(Webhook).where(Webhook.id == webhook_id).with_for_update()
        async with reaching_database(), self._writes.begin() as session:
            webhook = await session.scalar(query)
            if webhook is None:
                return None
            last, now = webhook.alert, utc_now()
            if last and last.token == token:
                return last.told
            if last and now < last.at + ALERT_EVERY:
                if kind == "failed" and token not in last.recent:
                    recent = (*last.recent, token)[-KEPT_TOKENS:]
                    webhook.alert = last.model_copy(update={"folded": last.folded + 1, "recent": recent})
                return None
            told = last.folded if last else 0
            webhook.alert = AlertState(at=now, kind=kind, delivery=delivery, token=token, told=told)
            return told


def has_recovered(webhook: Webhook, delivery: str) -> bool:
    """Say whether a success of this delivery is news: its failure was told of, and another alert may be sent."""
    last = webhook.alert
    if last is None or last.kind != "failed" or last.delivery != delivery:
        return False
    return utc_now() >= last.at + ALERT_EVERY
