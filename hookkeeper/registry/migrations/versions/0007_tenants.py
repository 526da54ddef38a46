"""Tenants are objects. Webhooks have a uid, webhooks and events have channels.

Tenants of webhooks and keys are carried over, others are added with their next event.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns, which the release before does not write."""
    op.add_column("webhooks", sa.Column("uid", sa.String()))
    op.add_column("webhooks", sa.Column("channels", sa.JSON()))
    op.add_column("events", sa.Column("channels", sa.String()))
    op.create_index("ix_webhooks_uid", "webhooks", ["uid", "tenant"], unique=True)
    op.add_column("webhooks", sa.Column("suspended", sa.Boolean()))
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("rate_limit", sa.String()),
        sa.Column("suspended_at", TIME),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("retry", sa.JSON()),
        sa.Column("on_failure", sa.JSON()),
        sa.Column("alert_after", sa.JSON()),
        sa.Column("signature_scheme", sa.String()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
    )
    op.create_index("ix_tenants_created_at", "tenants", ["created_at", "id"])
    op.execute(
        "INSERT INTO tenants (id, name, metadata, reason, created_at, updated_at)"
        " SELECT tenant, '', '{}', '', min(created_at), min(created_at) FROM"
        " (SELECT tenant, created_at FROM webhooks UNION ALL"
        " SELECT tenant, created_at FROM api_keys WHERE tenant IS NOT NULL) AS named GROUP BY tenant"
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("tenants")
    op.drop_column("webhooks", "suspended")
    op.drop_column("events", "channels")
    op.drop_column("webhooks", "channels")
    op.drop_index("ix_webhooks_uid", "webhooks")
    op.drop_column("webhooks", "uid")
