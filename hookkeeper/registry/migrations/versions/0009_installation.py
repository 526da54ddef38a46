"""A registry has an id, by which it is told from others."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the id, once."""
    table = op.create_table(
        "installation", sa.Column("id", sa.String(), primary_key=True), sa.Column("namespace", sa.String())
    )
    op.bulk_insert(table, [{"id": uuid4().hex}])


def downgrade() -> None:
    """Remove it."""
    op.drop_table("installation")
