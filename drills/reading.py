"""Reads the log of a drill's events through the API, when they are over."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from drills.observations import Logged

AT_ONCE = 8
TRIES = 20


@dataclass
class Log:
    """What the API says of each event. `webhooks` gives the name of each webhook's id."""

    http: httpx.AsyncClient
    tenant: str
    webhooks: dict[str, str]
    statuses: dict[str, str] = field(default_factory=dict)
    attempts: list[Logged] = field(default_factory=list)

    async def until_over(self, patience: float, latest: Callable[[], float] = lambda: 0.0) -> bool:
        """Wait until no event of the tenant is being delivered; False when `patience` (s) has passed before.

        `latest` says when something last happened: patience begins anew there, as a busy machine needs its time.
        """
        begun = time.time()
        while not await self._is_over():
            if time.time() - max(begun, latest()) > patience:
                return False
            await asyncio.sleep(0.5)
        return True

    async def _is_over(self) -> bool:
        page = await self._get("/v1/events", {"tenant": self.tenant, "status": "delivering", "limit": 1})
        return page is not None and not page["items"]

    async def read(self, event_ids: Iterable[str]) -> None:
        """Read these events. One that cannot be read has no status."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def read_one(event_id: str) -> None:
            async with slots:
                for _ in range(TRIES):
                    event = await self._get(f"/v1/events/{event_id}", {"tenant": self.tenant})
                    if event is not None:
                        self._note(event)
                        return
                    await asyncio.sleep(0.5)

        await asyncio.gather(*map(read_one, event_ids))

    async def _get(self, path: str, query: dict[str, Any]) -> dict[str, Any] | None:
        try:
            answer = await self.http.get(path, params=query)
        except httpx.TransportError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def _note(self, event: dict[str, Any]) -> None:
        self.statuses[event["id"]] = event["status"]
        for delivery in event["deliveries"]:
            for attempt in delivery["attempts"]:
                started = datetime.fromisoformat(attempt["started_at"]).timestamp()
                ended = started + attempt["duration_ms"] / 1000
                name = self.webhooks[delivery["webhook_id"]]
                entry = Logged(event["id"], name, started, ended, attempt["status_code"], attempt["error"])
                self.attempts.append(entry)
