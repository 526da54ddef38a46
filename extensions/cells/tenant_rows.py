"""The rows of a tenant that another registry takes over when the tenant moves to another cell.

They are read as values and written with the keys of the other registry. Ids, secrets and health stay as they are.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import ColumnElement, Table, delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from hookkeeper.messages.event import FINAL
from hookkeeper.registry.events.tables import IN_LINE, NOT_SUCCEEDED, deliveries
from hookkeeper.registry.models import Tenant, TenantSearchKeys, Webhook, WebhookPattern
from hookkeeper.registry.storage.database import Database
from hookkeeper.registry.tenants.api_keys import ApiKey

Row = dict[str, Any]
webhooks, patterns, api_keys, search_keys, tenants = (
    cast(Table, kind.__table__) for kind in (Webhook, WebhookPattern, ApiKey, TenantSearchKeys, Tenant)
)
OWNED: dict[Table, ColumnElement[Any]] = {
    tenants: tenants.c.id,
    api_keys: api_keys.c.tenant,
    search_keys: search_keys.c.tenant,
}
"""Further tables with rows of a tenant that move, and the column that has the tenant."""
HEALTH = frozenset(
    {"failing", "unhealthy_since", "failing_from", "failing_since", "failures", "timeouts", "last_success_at"}
    | {"slow_at", "slow_ms", "throttled_until", "next_slot_at", "filter_errors", "filter_error", "alert", "incident"}
)
"""Columns of a webhook that are written by the cell that delivers."""
MAX_COUNTED = 10_000


class Undelivered(NamedTuple):
    """Deliveries of a tenant that are not final, and places in lines; at most `MAX_COUNTED` of each."""

    deliveries: int
    in_line: int


class TenantRows:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def versions(self, tenant: str) -> dict[str, datetime]:
        """Return when each webhook of the tenant was changed last."""
        async with self._database.read() as session:
            rows = await session.execute(
                select(webhooks.c.id, webhooks.c.updated_at).where(webhooks.c.tenant == tenant)
            )
            return {row.id: row.updated_at for row in rows}

    async def webhook(self, webhook_id: str) -> Row:
        """Return the row of a webhook."""
        async with self._database.read() as session:
            row = (await session.execute(select(webhooks).where(webhooks.c.id == webhook_id))).mappings().one()
            return dict(row)

    async def put_webhook(self, row: Row) -> None:
        """Add a webhook with all that its row has, in place of the one with its id."""
        async with self._database.write() as session:
            await session.execute(
                delete(webhooks).where(webhooks.c.id == row["id"], webhooks.c.tenant == row["tenant"])
            )
            await session.execute(insert(webhooks).values(_by_key(webhooks, row)))
            await _add_patterns(session, row)

    async def put_settings(self, row: Row, kept: Collection[str] = ()) -> None:
        """Change a webhook to what its row in another cell has, but for its health and these columns."""
        values = {name: value for name, value in row.items() if name not in HEALTH and name not in kept}
        is_it = webhooks.c.id == row["id"], webhooks.c.tenant == row["tenant"]
        async with self._database.write() as session:
            await session.execute(update(webhooks).where(*is_it).values(_by_key(webhooks, values)))
            await session.execute(delete(patterns).where(patterns.c.webhook_id == row["id"]))
            await _add_patterns(session, row)

    async def remove_webhooks(self, tenant: str, kept: Collection[str]) -> None:
        """Remove the other webhooks of the tenant."""
        async with self._database.write() as session:
            await session.execute(delete(webhooks).where(webhooks.c.tenant == tenant, webhooks.c.id.not_in(kept)))

    async def owned(self, tenant: str) -> dict[str, list[Row]]:
        """Return the tenant's own row, its API keys and its search keys, by table."""
        found = {}
        async with self._database.read() as session:
            for table, owner in OWNED.items():
                rows = await session.execute(select(table).where(owner == tenant).order_by(*table.primary_key))
                found[table.name] = [dict(row) for row in rows.mappings()]
        return found

    async def put_owned(self, tenant: str, rows: Mapping[str, list[Row]]) -> None:
        """Replace what `owned` returns."""
        async with self._database.write() as session:
            for table, owner in OWNED.items():
                await session.execute(delete(table).where(owner == tenant))
                for row in rows[table.name]:
                    await session.execute(insert(table).values(_by_key(table, row)))

    async def undelivered(self, tenant: str) -> Undelivered:
        """Count what the cell still has to deliver."""
        row = deliveries.c
        is_open = select(literal(1)).where(row.tenant == tenant, NOT_SUCCEEDED, row.status.not_in(FINAL))
        own = select(webhooks.c.id).where(webhooks.c.tenant == tenant)
        in_line = select(literal(1)).where(row.webhook_id.in_(own), IN_LINE)
        async with self._database.read() as session:
            counted = [
                await session.scalar(select(func.count()).select_from(query.limit(MAX_COUNTED).subquery())) or 0
                for query in (is_open, in_line)
            ]
        return Undelivered(*counted)


async def _add_patterns(session: AsyncSession, row: Row) -> None:
    listed = [
        {"tenant": row["tenant"], "pattern": name, "webhook_id": row["id"]} for name in dict.fromkeys(row["events"])
    ]
    await session.execute(insert(patterns), listed)


def _by_key(table: Table, row: Mapping[str, Any]) -> dict[Any, Any]:
    """Name columns as the table has them: `metadata` is a word of SQLAlchemy."""
    return {table.c[name]: value for name, value in row.items()}
