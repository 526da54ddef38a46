"""Rows of counters that count all tenants together."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ALL_TENANTS = ""
KEY = ("seconds", "tenant", "at", "webhook_id", "type", "channel")


def upgrade() -> None:
    """Add up what the tenants have."""
    counters = [column["name"] for column in sa.inspect(op.get_bind()).get_columns("rollups")]
    rollups = sa.table("rollups", *(sa.column(name) for name in counters))
    sums = [sa.func.sum(rollups.c[name]) for name in counters if name not in KEY]
    empty = sa.literal(ALL_TENANTS)
    groups = (rollups.c.seconds, rollups.c.at, rollups.c.channel)
    totals = sa.select(rollups.c.seconds, empty, rollups.c.at, empty, empty, rollups.c.channel, *sums).group_by(*groups)
    op.execute(sa.insert(rollups).from_select([*KEY, *(name for name in counters if name not in KEY)], totals))


def downgrade() -> None:
    """Remove them."""
    op.execute(sa.text("DELETE FROM rollups WHERE tenant = ''"))
