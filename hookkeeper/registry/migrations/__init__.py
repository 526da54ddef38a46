"""The schema's history. Begin a new step in a Python prompt:

from alembic import command
from hookkeeper.registry.upkeep.schema import alembic

command.revision(alembic(), "what it does", rev_id="0002")

Processes of the release before read and write while a step runs, and for as long afterwards as an upgrade takes, or
after a rollback. So a step

- adds tables, and columns that are nullable or have a server default. It renames, narrows and drops nothing;
- adds an index to a large table (`LARGE`) with `create_index`, alone: what it has done cannot be undone if it fails;
- holds its locks for moments: it reads and writes no large table;
- fills in nothing that code of the release before keeps changing. Such a thing is mended when that code has ended, as
  `hookkeeper.registry.events.recount` does: `hookkeeper recount` at once, and workers once a day.

`tests/registry/test_migrations.py` checks the statements.
"""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

_VERSIONS = Path(__file__).parent / "versions"
LARGE = frozenset({"events", "deliveries", "event_keys", "rollups", "index_changes", "audit_log"})
"""Tables that grow with the events. An index of another one is made in a moment."""


@cache
def newest() -> str:
    """Return the latest revision. The names of the files begin with their revisions, which ascend."""
    return max(file.name for file in _VERSIONS.glob("[0-9]*.py")).partition("_")[0]


def create_index(name: str, table: str, columns: Sequence[str], *, where: str | None = None) -> None:
    """Create an index while others write, as the only thing that a step does. It can be repeated."""
    from alembic import op
    from sqlalchemy import text

    condition = None if where is None else text(where)
    create = partial(op.create_index, name, table, columns, sqlite_where=condition, postgresql_where=condition)
    context = op.get_context()
    if not context.opts.get("transaction_per_migration"):
        create()
        return
    with context.autocommit_block():
        # What an interrupted step has left is not valid.
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        create(postgresql_concurrently=True)
