"""Posts events at a fixed rate, with its own ids, and repeats each until it gets a final response."""

import asyncio
import itertools
import math
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from drills.observations import Accepted
from drills.receiver import digest_of

RETRYABLE = frozenset({429, 503})
"""Statuses after which a request is repeated."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between two requests for an event, which double; a random part of them is used."""
REQUEST_TIMEOUT = 10.0
MAX_CONCURRENT_REQUESTS = 50
"""More requests would wait inside the client."""
ACCEPT_TIMEOUT = 120.0
"""Seconds for which requests are repeated after the last event was first posted."""


@dataclass
class LoadGenerator:
    """A tenant's backend."""

    http: httpx.AsyncClient
    tenant: str
    seed: int
    accepted: list[Accepted] = field(default_factory=list)
    unaccepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONCURRENT_REQUESTS))

    async def post(self, seconds: float, rate: float) -> None:
        """Post events at their times, without waiting for earlier responses; return when all have a response.

        With infinite seconds, it ends when it is cancelled.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        async with asyncio.TaskGroup() as senders:
            for n in itertools.count() if math.isinf(seconds) else range(round(seconds * rate)):
                await asyncio.sleep(began + n / rate - clock())
                senders.create_task(self.send(n, seconds - n / rate + ACCEPT_TIMEOUT))

    async def send(self, n: int, timeout: float) -> None:
        """Post the n-th event until it gets a final response."""
        event, random, pause = self.event(n), Random(f"{self.seed} pauses {n}"), FIRST_PAUSE
        try:
            async with asyncio.timeout(timeout):
                while not await self._is_final(event):
                    await asyncio.sleep(random.uniform(pause / 2, pause))
                    pause = min(2 * pause, LONGEST_PAUSE)
        except TimeoutError:
            self.unaccepted.append(event["id"])

    async def _is_final(self, event: dict[str, Any]) -> bool:
        try:
            async with self._slots:
                response = await self.http.post("/v1/events", json=event, timeout=REQUEST_TIMEOUT)
        except httpx.TransportError:
            return False
        if response.is_success:
            self.accepted.append(Accepted(event["id"], time.time(), digest_of(event["data"])))
        elif response.status_code not in RETRYABLE:
            self.refused.append(f"{event['id']}: {response.status_code} {response.text}")
        return response.status_code not in RETRYABLE

    def event(self, n: int) -> dict[str, Any]:
        """Return the n-th event."""
        random = Random(f"{self.seed} event {n}")
        data = {"n": n, "text": "é" * random.randint(1, 500)}
        return {"id": f"drill-{self.seed}-{n}", "type": "drill.ran", "tenant": self.tenant, "data": data}
