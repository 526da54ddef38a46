"""What starts the run of an event is kept with its row, and what has become of its deliveries."""

import sqlalchemy as sa
from alembic import op

from hookkeeper.registry.index.tables import KEY_TEXT

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the column."""
    op.add_column("deliveries", sa.Column("state", sa.String()))
    op.create_table(
        "event_inputs",
        sa.Column("accepted_at", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("tenant", KEY_TEXT, primary_key=True),
        sa.Column("event_id", KEY_TEXT, primary_key=True),
        sa.Column("input", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["accepted_at", "tenant", "event_id"],
            ["events.accepted_at", "events.tenant", "events.id"],
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_column("deliveries", "state")
    op.drop_table("event_inputs")
