"""An index by which the suppressions of a tenant are counted, and its oldest are found."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NAME = "ix_suppressions_tenant_reason"


def upgrade() -> None:
    """Add the index."""
    op.create_index(NAME, "suppressions", ["tenant", "reason", "created_at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index(NAME, "suppressions")
