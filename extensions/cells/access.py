"""Access to a cell for `hookkeeper cells move`: its registry, and its API with the admin key."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from extensions.cells.cell_map import CellMap
from extensions.cells.tenant_rows import TenantRows
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings


class MoveFailed(Exception):
    """A step was not possible. The message says what to do."""


class CellUnavailable(Exception):
    """The API of a cell does not answer."""


@dataclass(frozen=True, slots=True)
class CellAccess:
    """A cell, with its registry and its API, for the admin key."""

    name: str
    store: Store
    http: httpx.AsyncClient
    retention: timedelta

    @property
    def rows(self) -> TenantRows:
        """The rows of tenants that move."""
        return TenantRows(self.store.database)

    async def call(self, method: str, path: str, *accepted: int, **request: Any) -> Any:
        """Call the API; return the JSON of a success, or None for one of these other statuses.

        Raises MoveFailed and CellUnavailable.
        """
        try:
            answer = await self.http.request(method, f"/v1/{path}", **request)
        except httpx.TransportError as error:
            raise CellUnavailable(f"cell {self.name} does not answer ({error})") from error
        if answer.status_code in accepted:
            return None
        if not answer.is_success:
            raise MoveFailed(f"cell {self.name} answers {answer.status_code} to {method} {path}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    async def all(self, path: str, tenant: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a list, page by page."""
        query = {"tenant": tenant, "limit": "100"}
        while True:
            page = await self.call("GET", path, params=query)
            for item in page["items"]:
                yield item
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]


@asynccontextmanager
async def opened(known: CellMap, name: str) -> AsyncIterator[CellAccess]:
    """Open a cell, by the settings of its processes. Raises MoveFailed and RegistryUnavailable."""
    cell = known.cells[name]
    if cell.env_file is None:
        raise MoveFailed(f"the map does not name the settings of cell {name}: `env_file`")
    settings = settings_of(cell.env_file)
    if settings.admin_key is None:
        raise MoveFailed(f"{cell.env_file} has no HOOKKEEPER_ADMIN_KEY")
    headers = {"authorization": f"Bearer {settings.admin_key.get_secret_value()}"}
    async with (
        Store.connect(settings.database_url, settings.keyring) as store,
        httpx.AsyncClient(base_url=cell.url, headers=headers, timeout=30, trust_env=False) as http,
    ):
        await store.ready()
        yield CellAccess(name, store, http, settings.retention)


class _FileSettings(Settings):
    """Settings of a file alone: those of this process are not those of a cell."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (dotenv_settings,)


def settings_of(path: Path) -> Settings:
    """Read the settings of a cell. Raises MoveFailed."""
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise MoveFailed(f"there is no file at {path} with the settings of a cell, or it cannot be read")
    try:
        return _FileSettings(_env_file=path)
    except ValidationError as error:
        names = ", ".join(f"HOOKKEEPER_{str(each['loc'][0]).upper()}" for each in error.errors())
        raise MoveFailed(f"{path} has invalid settings: {names}") from error
