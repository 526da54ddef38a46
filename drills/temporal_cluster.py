"""The real Temporal server, of the version in docker-compose.yml: its binaries, its configuration, and its processes.

Go builds the binaries once, into a cache folder. `DRILL_TEMPORAL_SERVER` names another folder that has them.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.console import Failed
from cli.local import temporal_server
from drills.shape import ROLES
from drills.supervisor import Service, Supervisor, listens

ROOT = Path(__file__).parents[1]
DYNAMIC_CONFIG = ROOT / "docker" / "temporal-dynamic-config.yaml"
VARIABLE = "DRILL_TEMPORAL_SERVER"
BINARIES = {"server": "cmd/server", "sql": "cmd/tools/sql"}
DATABASES = ("temporal", "temporal_visibility")
HISTORY_SHARDS = 512
"""As in docker-compose.yml."""
PORTS = {"frontend": 7233, "history": 7234, "matching": 7235, "worker": 7239}
"""Ports of all servers of a role: a cluster tells its servers apart by their addresses."""
MEMBERSHIP_PORTS = {role: port - 300 for role, port in PORTS.items()}
SERVER_NAME = "temporal.test"
"""The name in the certificates."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of a certificate that servers and clients have, and of the authority that both trust."""

    certificate: Path
    key: Path
    authority: Path


def version(compose: str) -> str:
    """Find the version of the server in the text of docker-compose.yml."""
    found = re.search(r"image: temporalio/server:(\S+)", compose)
    assert found is not None
    return found[1]


def folder() -> Path:
    """Return the folder of the binaries."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "hookkeeper" / f"temporal-server-{version((ROOT / 'docker-compose.yml').read_text())}"


def why_missing() -> str | None:
    """Return why there is no server to start, if there is none."""
    missing = [name for name in BINARIES if not (folder() / name).exists()]
    return f"{folder()} has no {missing[0]}: `make production-like` builds it" if missing else None


async def build() -> None:
    """Build what is missing, in up to half an hour. Raises `Failed`."""
    if why_missing() is None:
        return
    if shutil.which("go") is None:
        raise Failed(f"Temporal's server is built by Go, which is not installed (or name its folder: {VARIABLE})")
    release = version((ROOT / "docker-compose.yml").read_text())
    packages = [f"go.temporal.io/server/{path}@v{release}" for path in BINARIES.values()]
    building = await asyncio.create_subprocess_exec(
        "go", "install", *packages, env=os.environ | {"GOBIN": str(folder())}
    )
    if await building.wait():
        raise Failed(f"go install ended with {building.returncode}")


def make_tools(folder_: Path) -> dict[str, str]:
    """Make a folder of the commands that the scripts of `docker/` call; return the variables with which they run."""
    tools = folder_ / "bin"
    tools.mkdir()
    (tools / "temporal-sql-tool").symlink_to(folder() / "sql")
    return {"PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"}


async def create_tables(supervisor: Supervisor, tools: Mapping[str, str], database: str) -> None:
    """Create the databases on the PostgreSQL server at this address, and their tables."""
    server = {"SQL_PLUGIN": "postgres12", "SQL_HOST": database, "SQL_PORT": "5432"}
    server |= {"SQL_USER": "postgres", "SQL_PASSWORD": "none"}
    await supervisor.run("temporal-schema", ["sh", str(ROOT / "docker" / "temporal-schema.sh")], {**tools, **server})


async def create_namespace(supervisor: Supervisor, tools: Mapping[str, str], client: Mapping[str, str]) -> None:
    """Create the namespace that the variables of a client name."""
    script = ["sh", str(ROOT / "docker" / "temporal-namespace.sh")]
    await supervisor.run("temporal-namespace", script, {**tools, **client})


def configuration(
    address: str, frontend: str, database: str, tls: Tls | None, databases: Sequence[str] = DATABASES
) -> dict[str, Any]:
    """Return the configuration of the server at this address.

    `frontend` is the address of the cluster's frontends, `database` that of PostgreSQL, and `databases` are the names
    of the databases there.
    """
    default, visibility = databases
    return {
        "log": {"stdout": True, "level": "warn"},
        "persistence": {
            "defaultStore": "default",
            "visibilityStore": "visibility",
            "numHistoryShards": HISTORY_SHARDS,
            "datastores": {
                "default": {"sql": _store(default, database, 20)},
                "visibility": {"sql": _store(visibility, database, 10)},
            },
        },
        "global": {
            "membership": {"maxJoinDuration": "30s", "broadcastAddress": address},
            **({"tls": _encrypted(tls)} if tls else {}),
        },
        "services": {
            role: {
                "rpc": {"grpcPort": PORTS[role], "membershipPort": MEMBERSHIP_PORTS[role], "bindOnIP": address},
            }
            for role in ROLES
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
                    "rpcAddress": f"{frontend}:{PORTS['frontend']}",
                }
            },
        },
        "dynamicConfigClient": {"filepath": str(DYNAMIC_CONFIG), "pollInterval": "60s"},
    }


def _store(name: str, database: str, connections: int) -> dict[str, Any]:
    return {
        "pluginName": "postgres12",
        "databaseName": name,
        "connectAddr": f"{database}:5432",
        "connectProtocol": "tcp",
        "user": "postgres",
        "password": "none",
        "maxConns": connections,
        "maxIdleConns": connections,
        "maxConnLifetime": "1h",
    }


def _encrypted(tls: Tls) -> dict[str, Any]:
    """Let frontends demand certificates, also of Temporal's own workflows."""
    own = {"certFile": str(tls.certificate), "keyFile": str(tls.key)}
    client = {"serverName": SERVER_NAME, "rootCaFiles": [str(tls.authority)]}
    server = {**own, "requireClientAuth": True, "clientCaFiles": [str(tls.authority)]}
    return {"frontend": {"server": server, "client": client}, "systemWorker": {**own, "client": client}}


def service(name: str, folder_: Path, config: Mapping[str, Any], address: str, roles: Sequence[str] = ROLES) -> Service:
    """Describe the server with these roles at this address, and write its configuration into a folder."""
    file = folder_ / f"{name}.json"
    file.write_text(json.dumps(config, indent=1))  # JSON is YAML
    chosen = [part for role in roles for part in ("--service", role)]
    argv = [str(folder() / "server"), "--config-file", str(file), "start", *chosen]
    return Service(name, argv, listens(address, PORTS[roles[0]]), stop_timeout=temporal_server.STOP_TIMEOUT)
