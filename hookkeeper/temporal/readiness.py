"""What the API asks of Temporal to say whether it is ready: cached and bounded, for probes come every few seconds."""

import asyncio
from dataclasses import dataclass
from typing import Literal

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from hookkeeper.temporal import namespace
from hookkeeper.temporal.error_translation import NamespaceUnprepared
from hookkeeper.temporal.namespace import Findings
from hookkeeper.temporal.rate_mode import rates_kept_by

log = structlog.get_logger("hookkeeper.temporal")
CHECK_TIMEOUT = 2.0
"""Seconds for one look."""
RIGHT_FOR, WRONG_FOR = 60.0, 1.0
"""Seconds for which a good answer is kept, and a bad one."""


@dataclass(slots=True)
class _Cached:
    findings: Findings | None = None
    rates: Literal["queue", "timers", "unknown"] = "unknown"
    until: float = 0.0


class Readiness:
    """Looks at the namespace. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._cached = _Cached()
        self._lock = asyncio.Lock()

    async def check(self) -> Literal["queue", "timers", "unknown"]:
        """Say who keeps the rates of webhooks; raise `NamespaceUnprepared` where the namespace lacks something."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now >= self._cached.until:
                findings, rates = await self._look()
                good = not findings and rates != "unknown"
                self._cached = _Cached(findings, rates, now + (RIGHT_FOR if good else WRONG_FOR))
        if self._cached.findings:
            raise NamespaceUnprepared(self._cached.findings.sentences())
        return self._cached.rates

    async def _look(self) -> tuple[Findings | None, Literal["queue", "timers", "unknown"]]:
        """Look once. What cannot be read is not held against the namespace: whether Temporal answers is asked apart."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                findings = await namespace.inspect(self._client)
                return findings, await self._rates()
        except (RPCError, TimeoutError) as error:
            log.warning("the namespace cannot be checked", error=str(error))
            return None, "unknown"

    async def _rates(self) -> Literal["queue", "timers", "unknown"]:
        try:
            return await rates_kept_by(self._client, self._task_queue) or "unknown"
        except RPCError:
            return "unknown"
