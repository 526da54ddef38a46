"""Suppressed addresses are found by a token, so that the address itself can be encrypted.

SQLite cannot change a primary key: the table is made anew. The token of an address that is not encrypted is itself.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEX = "ix_suppressions_created_at"


def upgrade() -> None:
    """Copy the rows into a table with tokens."""
    _make_anew(
        "suppressions_0006",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("address_token", sa.String(), primary_key=True),
        sa.Column("address", sa.String(), nullable=False),
        copied="INSERT INTO suppressions_0006 (tenant, address_token, address, reason, detail, created_at)"
        " SELECT tenant, address, address, reason, detail, created_at FROM suppressions",
    )
    op.create_index(INDEX, "suppressions", ["created_at", "tenant", "address_token"])


def downgrade() -> None:
    """Copy the rows back. Those that are encrypted are lost: they can be read by nobody then."""
    _make_anew(
        "suppressions_0005",
        sa.Column("tenant", sa.String(), primary_key=True),
        sa.Column("address", sa.String(), primary_key=True),
        copied="INSERT INTO suppressions_0005 (tenant, address, reason, detail, created_at)"
        " SELECT tenant, address, reason, detail, created_at FROM suppressions WHERE address = address_token",
    )
    op.create_index(INDEX, "suppressions", ["created_at", "tenant", "address"])


def _make_anew(name: str, *columns: sa.Column[str], copied: str) -> None:
    """Make the table under another name, fill it, and let it take the old one's place."""
    op.create_table(
        name,
        *columns,
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute(copied)
    op.drop_index(INDEX, "suppressions")
    op.drop_table("suppressions")
    op.rename_table(name, "suppressions")
