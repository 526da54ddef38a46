"""Events of which no run has recorded anything are found at once."""

from alembic import op

from hookkeeper.registry.migrations import create_index

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    create_index(
        "ix_events_not_recorded",
        "events",
        ["shared_run", "accepted_at", "tenant", "id"],
        where="run_id = '' AND finished_at IS NULL",
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_events_not_recorded", "events")
