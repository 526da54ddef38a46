"""Webhooks, and the patterns that they listen to."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("previous_secret", sa.String()),
        sa.Column("previous_secret_expires_at", sa.DateTime(timezone=True)),
        sa.Column("retry", sa.JSON()),
        sa.Column("timeout", sa.Double(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String()),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_webhooks_created_at", "webhooks", ["created_at", "id"])
    op.create_index("ix_webhooks_tenant_created_at", "webhooks", ["tenant", "created_at", "id"])
    op.create_table(
        "webhook_patterns",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("pattern", sa.String(), primary_key=True),
        sa.Column("webhook_id", sa.String(), sa.ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_webhook_patterns_webhook_id", "webhook_patterns", ["webhook_id"])


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("webhook_patterns")
    op.drop_table("webhooks")
