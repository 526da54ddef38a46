"""Posts events at a fixed rate, as a careful client does: with ids of its own, and again until there is an answer."""

import asyncio
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from drills.observations import Accepted
from drills.receiver import digest_of

AGAIN = frozenset({429, 503})
"""Statuses that ask to come again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between two tries, of which each is a random part; they double."""
TIMEOUT = 10.0
AT_ONCE = 50
"""Requests under way at once: more would only queue up in the client, which takes the longer the more there are."""
PATIENCE = 120.0
"""Seconds that a sender goes on asking when the last event was posted for the first time."""


@dataclass
class LoadGenerator:
    """One tenant's backend."""

    http: httpx.AsyncClient
    tenant: str
    seed: int
    accepted: list[Accepted] = field(default_factory=list)
    unaccepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def post(self, seconds: float, rate: float) -> None:
        """Post for so long, each event when it is due, whatever became of those before; wait for all answers."""
        clock = asyncio.get_running_loop().time
        begun = clock()
        async with asyncio.TaskGroup() as senders:
            for n in range(int(seconds * rate)):
                await asyncio.sleep(begun + n / rate - clock())
                senders.create_task(self.send(n, seconds - n / rate + PATIENCE))

    async def send(self, n: int, patience: float) -> None:
        """Post the n-th event until it is answered for good."""
        event, random, pause = self._event(n), Random(f"{self.seed} pauses {n}"), FIRST_PAUSE
        try:
            async with asyncio.timeout(patience):
                while not await self._is_answered(event):
                    await asyncio.sleep(random.uniform(pause / 2, pause))
                    pause = min(2 * pause, LONGEST_PAUSE)
        except TimeoutError:
            self.unaccepted.append(event["id"])

    async def _is_answered(self, event: dict[str, Any]) -> bool:
        try:
            async with self._slots:
                answer = await self.http.post("/v1/events", json=event, timeout=TIMEOUT)
        except httpx.TransportError:
            return False
        if answer.is_success:
            self.accepted.append(Accepted(event["id"], time.time(), digest_of(event["data"])))
        elif answer.status_code not in AGAIN:
            self.refused.append(f"{event['id']}: {answer.status_code} {answer.text}")
        return answer.status_code not in AGAIN

    def _event(self, n: int) -> dict[str, Any]:
        random = Random(f"{self.seed} event {n}")
        data = {"n": n, "text": "é" * random.randint(1, 500)}
        return {"id": f"drill-{self.seed}-{n}", "type": "drill.ran", "tenant": self.tenant, "data": data}
