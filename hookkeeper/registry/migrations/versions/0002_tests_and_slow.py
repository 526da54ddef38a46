"""Events that are tests, and webhooks that are slow."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("events", sa.Column("is_test", sa.Boolean()))
    op.add_column("webhooks", sa.Column("slow_ms", sa.Double()))
    op.add_column("webhooks", sa.Column("slow_after", sa.Double()))


def downgrade() -> None:
    """Undo it."""
    op.drop_column("webhooks", "slow_after")
    op.drop_column("webhooks", "slow_ms")
    op.drop_column("events", "is_test")
