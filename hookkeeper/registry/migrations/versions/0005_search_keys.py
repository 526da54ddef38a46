"""Search in event data by declared keys."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEY_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables of search keys. Code of the release before does not use them."""
    op.add_column("event_types", sa.Column("search_keys", sa.JSON()))
    op.create_table(
        "search_keys",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("paths", sa.JSON(), nullable=False),
    )
    op.create_table(
        "event_keys",
        sa.Column("tenant", KEY_TEXT, primary_key=True),
        sa.Column("token", KEY_TEXT, primary_key=True),
        sa.Column("accepted_at", sa.BigInteger(), primary_key=True),
        sa.Column("event_id", KEY_TEXT, primary_key=True),
        sa.ForeignKeyConstraint(
            ["accepted_at", "tenant", "event_id"],
            ["events.accepted_at", "events.tenant", "events.id"],
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_event_keys_event", "event_keys", ["accepted_at", "tenant", "event_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("event_keys")
    op.drop_table("search_keys")
    op.drop_column("event_types", "search_keys")
