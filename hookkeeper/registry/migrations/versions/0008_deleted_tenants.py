"""A tenant that was deleted is remembered, so that no event adds it again by mistake."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, which the release before does not write. It reads such a tenant as a suspended one."""
    op.add_column("tenants", sa.Column("deleted_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Remove it, with the tenants that were deleted."""
    op.execute("DELETE FROM tenants WHERE deleted_at IS NOT NULL")
    op.drop_column("tenants", "deleted_at")
