"""The schema's history. Begin a new step in a Python prompt:

from alembic import command
from hookkeeper.registry.database import alembic

command.revision(alembic(), "what it does", rev_id="0002")
"""

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

_VERSIONS = Path(__file__).parent / "versions"


@cache
def newest() -> str:
    """Return the latest revision. The names of the files begin with their revisions, which ascend."""
    return max(file.name for file in _VERSIONS.glob("[0-9]*.py")).partition("_")[0]


def is_newest(database: Path) -> bool:
    """Return whether a SQLite file has the latest schema. Neither SQLAlchemy nor Alembic is imported."""
    if not database.exists():
        return False
    with closing(sqlite3.connect(database)) as connection:
        try:
            return connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(newest(),)]
        except sqlite3.DatabaseError:
            return False
