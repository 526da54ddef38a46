"""Changes a webhook all the time: what the API says is changed has to stay changed, also when the disk fills up."""

import asyncio
from dataclasses import dataclass, field
from random import Random
from string import ascii_letters
from typing import Any

import httpx

PAUSE = 0.25
FILLER = 12_000
"""Characters of each change: what a disk has no room for."""


@dataclass
class ConfigUpdater:
    """Numbers its changes. One that gets no answer may have been made or not; one that is answered 200 was."""

    http: httpx.AsyncClient
    webhook_id: str
    seed: int
    made: int = 0
    last: int = 0
    tried: int = 0
    refused: list[str] = field(default_factory=list)

    async def work(self) -> None:
        """Change until cancelled."""
        while True:
            await self._change()
            await asyncio.sleep(PAUSE)

    async def lost(self) -> tuple[str, ...]:
        """Say what is missing of what was answered 200."""
        answer = await self.http.get(f"/v1/webhooks/{self.webhook_id}")
        answer.raise_for_status()
        found = int(answer.json()["description"] or 0)
        wrong = not self.last <= found <= self.tried
        return (f"change {found} was found, {self.last} was the last that was answered",) if wrong else ()

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
