"""Up to when the requests to a webhook are spoken for, where timers keep its rate."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, empty."""
    op.add_column("webhooks", sa.Column("next_slot_at", sa.Double(), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("webhooks", "next_slot_at")
