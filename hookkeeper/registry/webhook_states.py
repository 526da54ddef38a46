"""The states of webhooks, and how many have each: a webhook is in the first one that applies."""

from sqlalchemy import case, func, select

from hookkeeper.registry.database import Database
from hookkeeper.registry.models import Webhook

STATE = case(
    (Webhook.enabled.is_(False) & Webhook.disabled_reason.is_distinct_from("manual"), "disabled_by_failures"),
    (Webhook.enabled.is_(False), "disabled"),
    (Webhook.paused_at.is_not(None), "paused"),
    (Webhook.failing_since.is_not(None), "failing"),
    else_="active",
)


async def count_by_state(database: Database) -> dict[str, int]:
    """Return the number of webhooks in each state that has any. Raises RegistryUnavailable."""
    state = STATE.label("state")
    async with database.read() as session:
        rows = await session.execute(select(state, func.count()).group_by("state"))
        return {row[0]: row[1] for row in rows}
