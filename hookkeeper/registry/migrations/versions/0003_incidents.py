"""The last alert of a webhook's incident."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, which the release before does not read."""
    op.add_column("webhooks", sa.Column("incident", sa.JSON()))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("webhooks", "incident")
