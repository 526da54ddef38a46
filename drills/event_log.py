"""Reads the log of a drill's events from the API."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from drills.observations import Logged

MAX_CONCURRENT_READS = 8
MAX_READS = 20


async def read_json(http: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any] | None:
    """Return what the API answers; None without an answer, or for a status other than 200."""
    with suppress(httpx.TransportError):
        response = await http.get(path, params=query)
        return response.json() if response.status_code == 200 else None
    return None


async def list_events(http: httpx.AsyncClient, tenant: str) -> dict[str, dict[str, Any]]:
    """Return all events of a tenant by id, as lists show them. Raises `httpx.HTTPError`."""
    found: dict[str, dict[str, Any]] = {}
    query: dict[str, str | int] = {"tenant": tenant, "limit": 100}
    while True:
        page = (await http.get("/v1/events", params=query)).raise_for_status().json()
        found |= {event["id"]: event for event in page["items"]}
        if not page["next_cursor"]:
            return found
        query["cursor"] = page["next_cursor"]


@dataclass
class EventLog:
    """Status and attempts of each event, according to the API. `webhooks` maps ids to names."""

    http: httpx.AsyncClient
    tenant: str
    webhooks: dict[str, str]
    statuses: dict[str, str] = field(default_factory=dict)
    attempts: list[Logged] = field(default_factory=list)

    async def until_final(self, timeout: float, latest: Callable[[], float] = lambda: 0.0) -> bool:
        """Wait until no event of the tenant is being delivered; False after `timeout` seconds.

        `latest` returns when something last happened; the timeout starts again then.
        """
        began = time.time()
        while not await self._is_final():
            if time.time() - max(began, latest()) > timeout:
                return False
            await asyncio.sleep(0.5)
        return True

    async def _is_final(self) -> bool:
        page = await read_json(self.http, "/v1/events", tenant=self.tenant, status="delivering", limit=1)
        return page is not None and not page["items"]

    async def read(self, event_ids: Iterable[str]) -> None:
        """Read these events. An event that cannot be read has no status.

        The list, which comes from the index, knows an outcome before its run has ended.
        """
        slots = asyncio.Semaphore(MAX_CONCURRENT_READS)

        async def read_one(event_id: str) -> None:
            event: dict[str, Any] | None = None
            async with slots:
                for _ in range(MAX_READS):
                    event = await read_json(self.http, f"/v1/events/{event_id}", tenant=self.tenant)
                    if event is not None and event["status"] != "delivering":
                        break
                    await asyncio.sleep(0.5)
                if event is not None:
                    self.record(event)

        await asyncio.gather(*map(read_one, event_ids))

    def record(self, event: dict[str, Any]) -> None:
        """Add what the API says of an event."""
        self.statuses[event["id"]] = event["status"]
        for delivery in event["deliveries"]:
            for attempt in delivery["attempts"]:
                started = datetime.fromisoformat(attempt["started_at"]).timestamp()
                ended = started + attempt["duration_ms"] / 1000
                name = self.webhooks[delivery["webhook_id"]]
                entry = Logged(event["id"], name, started, ended, attempt["status_code"], attempt["error"])
                self.attempts.append(entry)
