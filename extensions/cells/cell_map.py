"""The map of cells: a JSON file that says which cell has which tenant.

Routers read it, and `hookkeeper cells move` writes it.

    {
      "cells": {"a": {"url": "http://a.internal:8080"}, "b": {"url": "http://b.internal:8080"}},
      "default": "a",
      "tenants": {"acme": {"cell": "b"}}
    }

A cell is an installation: a namespace of Temporal, a registry, APIs and workers.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from hookkeeper.times import utc_now

CellName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,62})$")]


class BadCellMap(Exception):
    """The file cannot be read, or is no map of cells. The message is a sentence for operators."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(_Model):
    """An installation."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^/?#]+$")]
    """Its API, as routers reach it."""
    env_file: Path | None = None
    """The settings of its processes (`HOOKKEEPER_…=…`), which only `hookkeeper cells move` reads."""


class Place(_Model):
    """Where a tenant is."""

    cell: CellName
    """Gets new events and all changes."""
    moving_to: CellName | None = None
    """Changes are refused for a moment, while they would be lost on the way."""
    draining: CellName | None = None
    """Still delivers what it had accepted before the tenant left it."""
    previous: dict[CellName, datetime] = Field(default_factory=dict)
    """Cells that have earlier events of the tenant, and until when."""

    def earlier(self) -> list[str]:
        """Return the cells in which to look for earlier events, the latest one first."""
        now = utc_now()
        return [
            name for name, until in sorted(self.previous.items(), key=lambda at: at[1], reverse=True) if until > now
        ]


class CellMap(_Model):
    """All cells, and the tenants that are not in the default one."""

    cells: dict[CellName, Cell] = Field(min_length=1)
    default: CellName
    """Has each tenant that is not listed."""
    tenants: dict[str, Place] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_known_cells(self) -> Self:
        for tenant, place in self.tenants.items():
            for name in (place.cell, place.moving_to, place.draining, *place.previous):
                if name is not None and name not in self.cells:
                    raise ValueError(f"tenant {tenant} is in {name}, which is not a cell")
        if self.default not in self.cells:
            raise ValueError(f"the default is {self.default}, which is not a cell")
        return self

    def place(self, tenant: str) -> Place:
        """Return where a tenant is, known or not."""
        return self.tenants.get(tenant) or Place(cell=self.default)

    def with_place(self, tenant: str, place: Place) -> "CellMap":
        return self.model_copy(update={"tenants": {**self.tenants, tenant: place}})


def read(path: Path) -> CellMap:
    """Read the map. Raises BadCellMap."""
    try:
        return CellMap.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadCellMap(f"the map of cells cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BadCellMap(f"{path} is no map of cells: {where}: {first['msg'].removeprefix('Value error, ')}") from error


def write(path: Path, cell_map: CellMap) -> None:
    """Replace the file at once: a reader sees the old map or the new one, also after a crash."""
    new = path.with_name(f"{path.name}.new")
    with new.open("w") as file:
        file.write(cell_map.model_dump_json(indent=2, exclude_defaults=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other commands from writing the map during the block."""
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
