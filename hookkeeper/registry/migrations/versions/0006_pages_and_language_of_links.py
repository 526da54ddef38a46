"""Links to the portal name further pages and a language."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, which the release before does not write."""
    op.add_column("portal_sessions", sa.Column("pages", sa.JSON()))
    op.add_column("portal_sessions", sa.Column("language", sa.String()))


def downgrade() -> None:
    """Remove the columns."""
    op.drop_column("portal_sessions", "language")
    op.drop_column("portal_sessions", "pages")
