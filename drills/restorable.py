"""An installation on PostgreSQL that can be backed up, killed, and restored to other servers in several ways."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cli.console import Failed
from cli.local.child_process import signal_group
from drills import stack, temporal_cluster
from drills.postgres import Postgres, own
from drills.supervisor import Service, Supervisor

ADMIN_KEY = "an-admin-key-of-a-drill"
OPTIONS = {"max_connections": "300", "shared_buffers": "64MB"}
REGISTRY, TEMPORAL = ("hookkeeper",), temporal_cluster.DATABASES
DATABASES = REGISTRY + TEMPORAL
"""In the order of their dumps."""


@dataclass(frozen=True, slots=True)
class Case:
    """A way to restore."""

    name: str
    dumped: tuple[str, ...] = ()
    """Databases that are restored from their dumps, with other names; the others are as they were at the end."""
    from_log: bool = False
    """Restore the base backup, and the log until the moment of the backup."""

    def database(self, name: str) -> str:
        return f"{name}_restored" if name in self.dumped else name

    @property
    def temporal_is_older(self) -> bool:
        return self.from_log or TEMPORAL[0] in self.dumped


PROMOTED = Case("a replica is promoted")
CASES = (
    PROMOTED,
    Case("the registry is older", REGISTRY),
    Case("Temporal is older", TEMPORAL),
    Case("both from dumps", DATABASES),
    Case("both from base backup and log", from_log=True),
)


class Server:
    """A PostgreSQL server with its data and its socket in a folder."""

    def __init__(self, folder: Path, address: str, options: Mapping[str, str]) -> None:
        self.folder, self.address, self.data = folder, address, folder / "data"
        folder.mkdir()
        own(folder)
        self.postgres = Postgres(self.data, folder, {**OPTIONS, **options}, address, segment_mb=1, name=folder.name)

    async def tool(self, name: str, *arguments: str) -> str:
        """Run one of PostgreSQL's commands as a client of this server."""
        program = [str(Path(self.postgres.psql[0]).parent / name), *arguments]
        return await run_command(program, PGHOST=self.address, PGUSER="postgres")

    async def base_backup(self, folder: Path, *options: str) -> None:
        await self.tool("pg_basebackup", "--checkpoint", "fast", "-D", str(folder), *options)
        _own_all(folder)


class Site:
    """The folder of the installation, and the addresses of its servers: a network of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.network = folder, f"127.77.{os.getpid() % 254 + 1}"
        self.address = f"{self.network}.1"
        self.api = f"http://{self.address}:8080"
        archiving = {"archive_mode": "on", "archive_command": f"cp %p {folder}/archive/%f", "archive_timeout": "5"}
        self.primary, self.replica = self.server("primary", 2, **archiving), self.server("replica", 3)
        for name in ("archive", "dumps"):
            (folder / name).mkdir()
        own(folder / "archive")
        self._tools = temporal_cluster.make_tools(folder)

    def server(self, name: str, host: int, **options: str) -> Server:
        return Server(self.folder / name, f"{self.network}.{host}", options)

    async def prepare(self, primary: Supervisor, replica: Supervisor) -> None:
        """Start a server with empty databases, make a base backup, and start a replica that each commit waits for."""
        await asyncio.to_thread(self.primary.postgres.make)
        with (self.primary.data / "pg_hba.conf").open("a") as hba:
            hba.write("host all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n")
        await primary.start(self.primary.postgres.service)
        await self.primary.postgres.ask("CREATE DATABASE hookkeeper")
        await temporal_cluster.create_tables(primary, self._tools, self.primary.address)
        await self.primary.base_backup(self.folder / "base")
        await self.primary.base_backup(self.replica.data, "--write-recovery-conf")
        await replica.start(self.replica.postgres.service)
        await self.primary.postgres.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await self.primary.postgres.ask("SELECT pg_reload_conf()")

    async def dump(self, database: str) -> None:
        await self.primary.tool("pg_dump", "-Fc", "-d", database, "-f", str(self.folder / "dumps" / database))

    async def restore(self, case: Case, server: Server, databases: Supervisor, moment: float) -> None:
        """Start a server with the data at the end, or with those of the moment, and restore what was dumped."""
        await asyncio.to_thread(self._copy_data, case, server.data, moment)
        await databases.start(server.postgres.service)
        while await server.postgres.ask("SELECT pg_is_in_recovery()"):
            await asyncio.sleep(0.2)
        for name in case.dumped:
            restored = case.database(name)
            await server.postgres.ask(f'CREATE DATABASE "{restored}"')
            await server.tool("pg_restore", "--exit-on-error", "-d", restored, str(self.folder / "dumps" / name))
            if name in TEMPORAL:  # the server looks for the version of its tables by the name of the database
                await server.postgres.ask(f"UPDATE schema_version SET db_name = '{restored}'", restored)

    def _copy_data(self, case: Case, data: Path, moment: float) -> None:
        shutil.copytree(self.folder / "base" if case.from_log else self.primary.data, data)
        (data / "postmaster.pid").unlink(missing_ok=True)
        settings = "synchronous_standby_names = ''\n"
        if case.from_log:
            (data / "recovery.signal").touch()
            at = datetime.fromtimestamp(moment, UTC).isoformat(sep=" ")
            settings += f"restore_command = 'cp {self.folder}/archive/%f %p'\n"
            settings += f"recovery_target_time = '{at}'\nrecovery_target_action = promote\n"
        with (data / "postgresql.auto.conf").open("a") as config:
            config.write(settings)
        _own_all(data)

    def variables(self, server: Server, case: Case) -> dict[str, str]:
        """Return the settings of Hookkeeper and of Temporal's client."""
        registry = case.database(*REGISTRY)
        return {
            "HOOKKEEPER_DATABASE_URL": f"postgresql+asyncpg://postgres:none@{server.address}/{registry}",
            "HOOKKEEPER_ADMIN_KEY": ADMIN_KEY,
            "HOOKKEEPER_ALLOWED_NETWORKS": "127.0.0.0/8",
            "HOOKKEEPER_HOST": self.address,
            "HOOKKEEPER_METRICS_ADDRESS": "",
            "HOOKKEEPER_SHUTDOWN_DELAY": "0",
            "TEMPORAL_ADDRESS": f"{self.address}:{temporal_cluster.PORTS['frontend']}",
            "TEMPORAL_NAMESPACE": "hookkeeper",
        }

    @asynccontextmanager
    async def running(self, server: Server, case: Case) -> AsyncIterator[Supervisor]:
        """Run Temporal, a worker and the API on the databases of a server until the block ends."""
        databases = [case.database(name) for name in TEMPORAL]
        config = temporal_cluster.configuration(self.address, self.address, server.address, None, databases)
        variables = self.variables(server, case)

        def service(command: str) -> Service:
            return Service(command, hookkeeper_command(command), lambda: self._is_ready(command), variables)

        async with Supervisor(server.folder / "logs") as processes:
            await processes.start(temporal_cluster.service("temporal", server.folder, config, self.address))
            await temporal_cluster.create_namespace(processes, self._tools, variables)
            await processes.run("migrate", hookkeeper_command("migrate", "--wait", "60"), variables)
            await asyncio.gather(*(processes.start(service(command)) for command in ("worker", "api")))
            yield processes

    async def _is_ready(self, command: str) -> bool:
        """Whether the API is ready, or sees a worker that is."""
        state = await stack.probe(f"{self.api}/readyz")
        return bool(state) if command == "api" else state.get("workers") == "running"


def hookkeeper_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hookkeeper", *arguments]


def _own_all(folder: Path) -> None:
    own(folder, *folder.rglob("*"))


async def kill(supervisor: Supervisor, *names: str) -> None:
    """Kill processes at once, and start none of them again."""
    for name in names:
        if pid := supervisor.pid(name):
            signal_group(pid, signal.SIGKILL)
    await supervisor.stop()


async def run_command(argv: Sequence[str], **variables: str) -> str:
    """Run a command; return its output. Raises `Failed`."""
    process = await asyncio.create_subprocess_exec(
        *argv, env={**os.environ, **variables}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    written, errors = await process.communicate()
    if process.returncode:
        raise Failed(f"{' '.join(argv)} failed: {(written + errors).decode()[-500:]}")
    return written.decode()
