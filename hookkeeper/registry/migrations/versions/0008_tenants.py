"""Webhooks have a uid."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, which the release before does not write."""
    op.add_column("webhooks", sa.Column("uid", sa.String()))
    op.create_index("ix_webhooks_uid", "webhooks", ["uid", "tenant"], unique=True)


def downgrade() -> None:
    """Remove it."""
    op.drop_index("ix_webhooks_uid", "webhooks")
    op.drop_column("webhooks", "uid")
