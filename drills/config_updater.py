"""Changes a webhook repeatedly. A change that the API has confirmed must last, also when the disk is full."""

import asyncio
from dataclasses import dataclass, field
from random import Random
from string import ascii_letters
from typing import Any

import httpx

INTERVAL = 0.25
FILLER = 12_000
"""Characters of each change, so that a full disk has no space for it."""


@dataclass
class ConfigUpdater:
    """Numbers its changes. A change without a response may have been made; one with status 200 has been."""

    http: httpx.AsyncClient
    webhook_id: str
    seed: int
    made: int = 0
    last: int = 0
    tried: int = 0
    refused: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Change until cancelled."""
        while True:
            await self._change()
            await asyncio.sleep(INTERVAL)

    async def lost(self) -> tuple[str, ...]:
        """Describe a confirmed change that is missing."""
        answer = await self.http.get(f"/v1/webhooks/{self.webhook_id}")
        answer.raise_for_status()
        found = int(answer.json()["description"] or 0)
        wrong = not self.last <= found <= self.tried
        return (f"change {found} was found, {self.last} was the last one confirmed",) if wrong else ()

    async def _change(self) -> None:
        self.tried += 1
        try:
            answer = await self.http.patch(f"/v1/webhooks/{self.webhook_id}", json=self._fields())
        except httpx.TransportError:
            return
        if answer.is_success:
            self.made, self.last = self.made + 1, self.tried
        elif answer.status_code != 503:
            self.refused.append(f"change {self.tried}: {answer.status_code} {answer.text}")

    def _fields(self) -> dict[str, Any]:
        random = Random(f"{self.seed} change {self.tried}")
        filler = "".join(random.choices(ascii_letters, k=FILLER))
        return {"description": str(self.tried), "payload": {"static": {"filler": filler}}}
