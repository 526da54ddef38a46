"""Webhooks have a uid, webhooks and events have channels."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, which the release before does not write."""
    op.add_column("webhooks", sa.Column("uid", sa.String()))
    op.add_column("webhooks", sa.Column("channels", sa.JSON()))
    op.add_column("events", sa.Column("channels", sa.String()))
    op.create_index("ix_webhooks_uid", "webhooks", ["uid", "tenant"], unique=True)


def downgrade() -> None:
    """Remove them."""
    op.drop_column("events", "channels")
    op.drop_column("webhooks", "channels")
    op.drop_index("ix_webhooks_uid", "webhooks")
    op.drop_column("webhooks", "uid")
