"""TLS of webhooks' own: whom they trust, and the certificate that they are shown."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, which may be NULL."""
    op.add_column("webhooks", sa.Column("tls", sa.JSON()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("webhooks", "tls")
