"""The real Temporal server, of the version in docker-compose.yml: its binaries, its configuration, and its processes.

Go builds the binaries once, into a cache folder. `DRILL_TEMPORAL_SERVER` names another folder that has them.
"""

import asyncio
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drills.shape import ROLES
from hookkeeper.cli.console import Failed

ROOT = Path(__file__).parents[1]
DYNAMIC_CONFIG = ROOT / "docker" / "temporal-dynamic-config.yaml"
VARIABLE = "DRILL_TEMPORAL_SERVER"
BINARIES = {"server": "cmd/server", "sql": "cmd/tools/sql"}
HISTORY_SHARDS = 512
"""As in docker-compose.yml."""
PORTS = {"frontend": 7233, "history": 7234, "matching": 7235, "worker": 7239}
"""Those of all servers of a role: a cluster tells its servers apart by their addresses."""
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


def configuration(address: str, frontend: str, database: str, tls: Tls | None) -> dict[str, Any]:
    """Return the configuration of the server at this address.

    `frontend` is the address of the cluster's frontends, and `database` that of PostgreSQL.
    """
    return {
        "log": {"stdout": True, "level": "warn"},
        "persistence": {
            "defaultStore": "default",
            "visibilityStore": "visibility",
            "numHistoryShards": HISTORY_SHARDS,
            "datastores": {
                "default": {"sql": _store("temporal", database, 20)},
                "visibility": {"sql": _store("temporal_visibility", database, 10)},
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


def command(config: Path, roles: Sequence[str]) -> list[str]:
    """Spell a server with these roles, and write its configuration to a file before it is started."""
    chosen = [part for role in roles for part in ("--service", role)]
    return [str(folder() / "server"), "--config-file", str(config), "start", *chosen]


def write(config: Path, content: Mapping[str, Any]) -> None:
    config.write_text(json.dumps(content, indent=1))  # JSON is YAML
