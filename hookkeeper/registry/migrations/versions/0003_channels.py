"""Payload, filter, emails, notifications and escalation of webhooks; suppressed addresses."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "payload": sa.JSON(),
    "filter": sa.String(),
    "filter_errors": sa.Integer(),
    "filter_error": sa.String(),
    "emails": sa.JSON(),
    "notifications": sa.JSON(),
    "email_numbers": sa.JSON(),
    "notification_numbers": sa.JSON(),
    "on_failure": sa.JSON(),
    "alert": sa.JSON(),
}


def upgrade() -> None:
    """Add the columns, all of which may be NULL, and the table."""
    for name, kind in COLUMNS.items():
        op.add_column("webhooks", sa.Column(name, kind))
    op.create_table(
        "suppressions",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("address", sa.String(), primary_key=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_suppressions_created_at", "suppressions", ["created_at", "tenant", "address"])


def downgrade() -> None:
    """Drop the table and the columns."""
    op.drop_table("suppressions")
    for name in COLUMNS:
        op.drop_column("webhooks", name)
