"""`hookkeeper backup`: copies a data directory, also while its `dev` runs.

The copy is what a `kill -9` of everything would have left at one moment. Without the registry, no event is accepted and
no step is recorded, so its write lock is held while both databases begin a read: SQLite shows each reader the database
as it was then. Copying takes longer, and others write meanwhile.
"""

import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from cli.console import Failed, out
from cli.datadir import PRIVATE, DataDir
from cli.local.temporal_server import DATABASE, VERSION_FILE

LOCK_TIMEOUT = 30.0
"""Seconds to wait for other writers of the registry."""


def run_backup(data: DataDir, target: Path) -> None:
    """Copy databases and keys to a new folder, all or nothing."""
    target, began = target.absolute(), time.monotonic()
    databases = data.registry, data.path / DATABASE
    if missing := [file for file in databases if not file.exists()]:
        raise Failed(f"there is no {missing[0]}: --data-dir has to be that of a `hookkeeper dev`")
    if target.exists():
        raise Failed(f"{target} exists: choose a folder that does not")
    os.umask(PRIVATE)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
        try:
            _copy_databases(*databases, unfinished)
            for file in (data.path / VERSION_FILE, data.path / "admin.key", data.key_file):
                if file.exists():
                    shutil.copy2(file, unfinished)
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except (OSError, sqlite3.Error) as error:
        raise Failed(f"no backup was made: {error}") from error
    size = sum(file.stat().st_size for file in target.iterdir()) / 1e6
    out.print(f"{target}: {size:.1f} MB in {time.monotonic() - began:.1f} s", markup=False)


def _copy_databases(registry: Path, temporal: Path, folder: Path) -> None:
    with (
        closing(_connect(registry)) as lock,
        closing(_connect(registry)) as first,
        closing(_connect(temporal)) as second,
    ):
        lock.execute("BEGIN IMMEDIATE")
        for reader in (first, second):
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the read begins the transaction
        lock.execute("ROLLBACK")
        for reader, name in ((first, registry.name), (second, temporal.name)):
            with closing(sqlite3.connect(folder / name)) as copy:
                reader.backup(copy)
                if (state := copy.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                    raise sqlite3.DatabaseError(f"{name} is damaged: {state}")


def _connect(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.as_uri()}?mode=rw", LOCK_TIMEOUT, isolation_level=None, uri=True)
