"""What a drill runs on, and the names of its processes. Pure."""

from dataclasses import dataclass
from typing import Literal, get_args

WORKERS = ("worker-1", "worker-2")
REGISTRY = "registry"
POSTGRESQL = "postgresql"
"""The database server of a production stack, which has the data of Temporal as well."""
ROLES = ("frontend", "matching", "history", "worker")
"""Temporal's services."""

Server = Literal["embedded", "production", "roles"]
SERVERS: tuple[Server, ...] = get_args(Server)
Extra = Literal["tls", "encryption", "pooler"]
EXTRAS: tuple[Extra, ...] = get_args(Extra)


@dataclass(frozen=True, slots=True)
class Shape:
    """The processes of a stack."""

    server: Server = "embedded"
    """`embedded`: one API, and the embedded Temporal server. `production`: two APIs behind a proxy, and one process of
    the real Temporal server, on PostgreSQL. `roles`: the same, and each of Temporal's roles has its own processes."""
    extras: frozenset[Extra] = frozenset()
    """Only with a real server: TLS to Temporal and PostgreSQL, encrypted data, PgBouncer before the registry."""

    @property
    def is_production(self) -> bool:
        return self.server != "embedded"

    @property
    def apis(self) -> tuple[str, ...]:
        return ("api-1", "api-2") if self.is_production else ("api",)

    @property
    def temporal(self) -> tuple[str, ...]:
        """Processes of Temporal: two of each role, apart from that for Temporal's own workflows."""
        if self.server != "roles":
            return ("temporal",)
        return (*(f"temporal-{role}-{n}" for role in ROLES[:-1] for n in (1, 2)), f"temporal-{ROLES[-1]}-1")

    @property
    def database(self) -> str:
        return POSTGRESQL if self.is_production else REGISTRY

    @property
    def targets(self) -> tuple[str, ...]:
        """Processes that are killed."""
        return (*WORKERS, *self.apis, *self.temporal, self.database)


EMBEDDED = Shape()
