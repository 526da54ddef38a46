"""All tables, as the models have them until the first release. Then it names them itself, and stays as it is."""

from alembic import op

from hookkeeper.registry import api_keys, audit, portal  # noqa: F401 - they have tables
from hookkeeper.registry.index import tables  # noqa: F401
from hookkeeper.registry.models import Base

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create all tables."""
    Base.metadata.create_all(op.get_bind())


def downgrade() -> None:
    """Drop all tables."""
    Base.metadata.drop_all(op.get_bind())
