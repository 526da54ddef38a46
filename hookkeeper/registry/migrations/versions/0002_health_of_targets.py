"""The health of each target of a webhook.

What the previous release knows of failing URLs is carried over.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
UNHEALTHY = sa.text("unhealthy_since IS NOT NULL")
COLUMNS: dict[str, Any] = {
    "alert_after": sa.JSON(),
    "failing": sa.JSON(),
    "unhealthy_since": TIME,
    "failing_from": TIME,
}
FAILURES, WAIT = 5, timedelta(minutes=15)
"""When a webhook is failing, by default."""


def upgrade() -> None:
    """Add the columns and the index of webhooks that are not healthy."""
    for name, kind in COLUMNS.items():
        op.add_column("webhooks", sa.Column(name, kind))
    op.create_index(
        "ix_webhooks_unhealthy_since",
        "webhooks",
        ["unhealthy_since", "id"],
        sqlite_where=UNHEALTHY,
        postgresql_where=UNHEALTHY,
    )
    _carry_over()


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_webhooks_unhealthy_since")
    for name in COLUMNS:
        op.drop_column("webhooks", name)


def _carry_over() -> None:
    columns = {"id": sa.String(), "failing_since": TIME, "failures": sa.Integer(), **COLUMNS}
    webhooks = sa.table("webhooks", *(sa.column(name, kind) for name, kind in columns.items()))
    query = sa.select(webhooks.c.id, webhooks.c.failing_since, webhooks.c.failures)
    for id_, since, failures in op.get_bind().execute(query.where(webhooks.c.failing_since.is_not(None))).all():
        known = {
            "failing": {"webhook": _failure(since, failures or 1)},
            "unhealthy_since": since,
            "failing_from": since if (failures or 1) >= FAILURES else since + WAIT,
        }
        op.execute(webhooks.update().where(webhooks.c.id == id_).values(known))


def _failure(since: datetime, failures: int) -> dict[str, object]:
    first = since if since.tzinfo else since.replace(tzinfo=UTC)  # SQLite has no time zones
    from_ = first if failures >= FAILURES else first + WAIT
    times = {"since": first, "at": first, "failing_from": from_}
    return {**{name: time.isoformat() for name, time in times.items()}, "failures": failures}
