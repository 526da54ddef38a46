"""A stack as in production, on one machine: each process has an address of its own in the loopback network.

    clients ──► proxy ──► api-1, api-2         postgresql ◄── Temporal's processes, APIs and workers
                          worker-1, worker-2   with PgBouncer: the registry's connections go through it

PostgreSQL has three databases. What docker-compose.yml executes prepares them: `docker/temporal-schema.sh`,
`docker/temporal-namespace.sh`, `docker/registry-role.sql`, then `migrate` as the owner of the tables, and `promote`.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import randrange

from cli.console import Failed
from cli.datadir import DataDir
from cli.ports import LOCALHOST, Ports, free_ports
from drills import temporal_cluster
from drills.authorities import Authority
from drills.postgres import SMALL, NotInstalled, Postgres, as_user, own
from drills.relays import Relay
from drills.shape import POSTGRESQL, ROLES, WORKERS, Shape
from drills.stack import StackPlan
from drills.supervisor import Service, Supervisor, listens
from drills.temporal_cluster import PORTS, ROOT, SERVER_NAME, Tls
from hookkeeper.settings import Settings
from hookkeeper.version import VERSION

NAMESPACE, ROLE = "hookkeeper", "hookkeeper_data"
HOSTS = {
    POSTGRESQL: 1,
    "pgbouncer": 2,
    "temporal": 10,
    "api-1": 21,
    "api-2": 22,
    "worker-1": 31,
    "worker-2": 32,
    "relay": 100,
}
"""The last part of each address. Those of Temporal's processes follow that of `temporal`."""
DATABASE_OPTIONS = {"max_connections": "300"}
"""As in docker-compose.yml."""
TRANSACTIONS_SINCE = (1, 21)
"""The version of PgBouncer from which on transaction mode works."""


@dataclass(frozen=True, slots=True)
class Production:
    """What the processes of a stack know of each other."""

    shape: Shape
    folder: Path
    """Configurations and certificates. PostgreSQL's user can read it."""
    postgres: Postgres
    network: str
    """The first three parts of all addresses."""
    ports: Ports
    tls: Tls | None = None
    relay: Relay | None = None
    """The one between the processes of Hookkeeper and Temporal, if any."""

    def address(self, name: str, more: int = 0) -> str:
        return f"{self.network}.{HOSTS[name] + more}"

    @property
    def frontend(self) -> str:
        return self.address("temporal")

    @property
    def temporal_variables(self) -> dict[str, str]:
        variables = {"TEMPORAL_ADDRESS": f"{self.frontend}:{PORTS['frontend']}", "TEMPORAL_NAMESPACE": NAMESPACE}
        if self.tls:
            variables |= {
                "TEMPORAL_TLS": "true",
                "TEMPORAL_TLS_SERVER_NAME": SERVER_NAME,
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(self.tls.authority),
                "TEMPORAL_TLS_CLIENT_CERT_PATH": str(self.tls.certificate),
                "TEMPORAL_TLS_CLIENT_KEY_PATH": str(self.tls.key),
            }
        return variables

    def environments(self, variables: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """Return the variables of each process."""
        shared = {**self.temporal_variables, "HOOKKEEPER_DEPLOYMENT_VERSION": VERSION, **variables}
        if self.tls:
            shared["PGSSLROOTCERT"] = str(self.tls.authority)
        found = {"migrate": {**shared, "HOOKKEEPER_DATABASE_URL": self.database_url("postgres", POSTGRESQL)}}
        server = "pgbouncer" if "pooler" in self.shape.extras else POSTGRESQL
        for name in (*self.shape.apis, *WORKERS, "promote"):
            host = self.address(name) if name in HOSTS else LOCALHOST
            found[name] = {
                **shared,
                "HOOKKEEPER_DATABASE_URL": self.database_url(ROLE, server),
                "HOOKKEEPER_HOST": host,
                "HOOKKEEPER_PORT": "8080",
                "HOOKKEEPER_METRICS_ADDRESS": f"{host}:9464",
            }
            if self.relay:
                found[name]["TEMPORAL_ADDRESS"] = f"{self.address('relay')}:{PORTS['frontend']}"
        return found

    def database_url(self, user: str, server: str) -> str:
        port = 6432 if server == "pgbouncer" else 5432
        encrypted = "?ssl=verify-full" if self.tls and server == POSTGRESQL else ""
        return f"postgresql+asyncpg://{user}:none@{self.address(server)}:{port}/postgres{encrypted}"

    async def start(self, supervisor: Supervisor) -> Sequence[Service]:
        """Start and prepare PostgreSQL and Temporal, then PgBouncer and the proxies."""
        database, temporal, proxies = self.postgres.service, self.temporal_services(), self.proxies()
        await supervisor.start(database)
        tools = temporal_cluster.make_tools(self.folder)
        await temporal_cluster.create_tables(supervisor, tools, self.address(POSTGRESQL))
        await asyncio.gather(*map(supervisor.start, (*temporal, *proxies)))
        await temporal_cluster.create_namespace(supervisor, tools, self.temporal_variables)
        role = ["--set", f"role={ROLE}", "--set", "password=none", "--file", str(ROOT / "docker" / "registry-role.sql")]
        await supervisor.run("registry-role", [*self.postgres.psql, *role], {})
        return (*temporal, database, *proxies)

    def temporal_services(self) -> list[Service]:
        """Describe the processes of Temporal. The second of a role has another address."""
        services = []
        for number, name in enumerate(self.shape.temporal):
            roles = [role for role in ROLES if role in name] or ROLES
            more = number + 1 if self.shape.server == "roles" else 0
            address = self.address("temporal", more)
            config = temporal_cluster.configuration(address, self.frontend, self.address(POSTGRESQL), self.tls)
            services.append(temporal_cluster.service(name, self.folder, config, address, roles))
        return services

    def proxies(self) -> list[Service]:
        """Describe the proxy before the APIs, the one before the frontends if there are two, and PgBouncer."""
        apis = [f"{self.address(name)}:8080" for name in self.shape.apis]
        found = [_proxy("proxy", LOCALHOST, self.ports.api, apis)]
        if self.shape.server == "roles":
            frontends = [f"{self.address('temporal', more)}:{PORTS['frontend']}" for more in (1, 2)]
            found.append(_proxy("temporal-proxy", self.frontend, PORTS["frontend"], frontends))
        if "pooler" in self.shape.extras:
            found.append(self.pooler())
        return found

    def pooler(self) -> Service:
        """Describe PgBouncer, in transaction mode if its version keeps prepared statements. Raises `NotInstalled`."""
        binary = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if binary is None:
            raise NotInstalled("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
        written = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
        config, users, address = self.folder / "pgbouncer.ini", self.folder / "users.txt", self.address("pgbouncer")
        users.write_text("".join(f'"{user}" "none"\n' for user in ("postgres", ROLE)))
        config.write_text(
            f"[databases]\npostgres = host={self.address(POSTGRESQL)} port=5432\n"
            f"[pgbouncer]\nlisten_addr = {address}\nlisten_port = 6432\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {users}\ndefault_pool_size = 60\nmax_client_conn = 300\n{pooling(written)}\n"
        )
        own(config, users)
        return Service("pgbouncer", as_user([binary, str(config)]), listens(address, 6432))


def pooling(version: str) -> str:
    """Return the mode for what `pgbouncer --version` says."""
    found = re.search(r"PgBouncer (\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) >= TRANSACTIONS_SINCE:
        return "pool_mode = transaction\nmax_prepared_statements = 200"
    return "pool_mode = session"


@asynccontextmanager
async def planned(
    shape: Shape, folder: Path, disk: Path | None, variables: Mapping[str, str], relayed: bool
) -> AsyncIterator[tuple[Production, StackPlan]]:
    """Plan a stack with its data and logs in `folder`, and the database on a small `disk` if given, until it ends.

    If `relayed`, Hookkeeper connects to Temporal through relays.
    """
    if reason := temporal_cluster.why_missing():
        raise Failed(reason)
    async with AsyncExitStack() as resources:
        own_folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="hookkeeper-production-"))
        made = await asyncio.to_thread(_prepared, shape, Path(own_folder), disk)
        if relayed:
            relay = Relay(lambda: asyncio.open_connection(made.frontend, PORTS["frontend"]))
            resources.push_async_callback(relay.close)
            server = await asyncio.start_server(relay.serve, made.address("relay"), PORTS["frontend"])
            await resources.enter_async_context(server)
            made = replace(made, relay=relay)
        yield (
            made,
            StackPlan(
                data=DataDir(folder),
                ports=made.ports,
                settings=Settings(_env_file=None),
                encrypt="encryption" in shape.extras,
                workers=WORKERS,
                apis=shape.apis,
                foundation=made.start,
                as_in_production=True,
                environments=made.environments(variables),
            ),
        )


def _prepared(shape: Shape, folder: Path, disk: Path | None) -> Production:
    """Make the database cluster and certificates, and choose a network and, at last, the port of the API."""
    folder.chmod(0o755)
    (sockets := folder / "pg").mkdir()
    network = f"127.{randrange(1, 255)}.{randrange(255)}"
    address, options = f"{network}.{HOSTS[POSTGRESQL]}", DATABASE_OPTIONS | (SMALL if disk else {})
    tls = _certify(folder, address) if "tls" in shape.extras else None
    if tls:
        options |= {
            "ssl": "on",
            "ssl_cert_file": f"{folder}/postgresql.pem",
            "ssl_key_file": f"{folder}/postgresql.key",
        }
    segment_mb = 1 if disk else 16
    postgres = Postgres((disk or sockets) / "data", sockets, options, address, segment_mb, POSTGRESQL)
    postgres.make(with_tls=tls is not None)
    if tls:
        own(folder / "postgresql.key", folder / "postgresql.pem")
    return Production(shape, folder, postgres, network, free_ports(), tls)


def _certify(folder: Path, database: str) -> Tls:
    """Write certificates for PostgreSQL, and for Temporal's frontends and their clients."""
    authority = Authority()
    (folder / "authority.pem").write_text(authority.pem)
    for name, host in (("postgresql", database), ("temporal", SERVER_NAME)):
        made = authority.certify(host)
        (folder / f"{name}.pem").write_text(made.certificate)
        (folder / f"{name}.key").write_text(made.key)
        (folder / f"{name}.key").chmod(0o600)
    return Tls(folder / "temporal.pem", folder / "temporal.key", folder / "authority.pem")


def _proxy(name: str, address: str, port: int, servers: Sequence[str]) -> Service:
    argv = [sys.executable, "-m", "drills.relays", f"{address}:{port}", *servers]
    return Service(name, argv, listens(address, port), {"PYTHONPATH": str(ROOT)})
