"""A small disk for the registry that can be filled: a tmpfs, if this process may mount one.

A limit on file sizes cannot replace it, because PostgreSQL reports another error for it.
"""

import errno
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = 240
"""Megabytes. An empty PostgreSQL takes 40, and the rows of 12,000 events about as much again."""
CHUNK = b"\0" * 4096


class SmallDisk:
    """A mounted folder, and a file in it that takes all free space."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no block free."""
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while file.write(CHUNK):
                    pass
            except OSError as fault:
                if fault.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        """Free the space again."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(wanted: bool) -> Iterator[SmallDisk | None]:
    """Mount a small disk until the block ends; None if it is not wanted, or this process may not mount."""
    with tempfile.TemporaryDirectory(prefix="hookkeeper-disk-") as name:
        if not (wanted and _mounted(name)):
            yield None
            return
        try:
            yield SmallDisk(Path(name))
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def _mounted(folder: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=755", "tmpfs", folder]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
