"""Events are acknowledged: who, when, and a note."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ACKNOWLEDGED = sa.text("acknowledged IS NOT NULL")


def upgrade() -> None:
    """Add the column, which the release before does not write."""
    op.add_column("events", sa.Column("acknowledged", sa.String()))
    op.create_index(
        "ix_events_acknowledged",
        "events",
        ["accepted_at", "tenant", "id"],
        sqlite_where=ACKNOWLEDGED,
        postgresql_where=ACKNOWLEDGED,
    )


def downgrade() -> None:
    """Remove the column."""
    op.drop_index("ix_events_acknowledged", "events")
    op.drop_column("events", "acknowledged")
