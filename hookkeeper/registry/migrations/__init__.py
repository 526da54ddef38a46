"""The schema's history. Begin a new step in a Python prompt:

from alembic import command
from hookkeeper.registry.database import alembic

command.revision(alembic(), "what it does", rev_id="0002")
"""

from functools import cache
from pathlib import Path

_VERSIONS = Path(__file__).parent / "versions"


@cache
def newest() -> str:
    """Return the latest revision. The names of the files begin with their revisions, which ascend."""
    return max(file.name for file in _VERSIONS.glob("[0-9]*.py")).partition("_")[0]
