"""How fast and in which order a webhook is served, whether it is paused, and how it has been doing."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "rate_limit": sa.Double(),
    "ordered": sa.String(),
    "paused_at": TIME,
    "disable_after": sa.Double(),
    "failing_since": TIME,
    "failures": sa.Integer(),
    "timeouts": sa.Integer(),
    "last_success_at": TIME,
    "throttled_until": TIME,
}


def upgrade() -> None:
    """Add the columns, empty."""
    for name, type_ in COLUMNS.items():
        op.add_column("webhooks", sa.Column(name, type_, nullable=True))


def downgrade() -> None:
    """Drop the columns."""
    for name in COLUMNS:
        op.drop_column("webhooks", name)
