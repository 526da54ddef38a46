"""Collects the reports of a process, and writes them to the index many at a time, apart from what is reported.

A process that is killed loses the reports of its last moments, and so does one whose buffer is full because the
registry is unavailable. `hookkeeper.temporal.index_sweep` finds and repairs what is missing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice

import structlog

from hookkeeper import metrics
from hookkeeper.asyncio_tasks import in_background
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.index.index import EventIndex

FLUSH_INTERVAL = 0.5
"""Seconds between two writes. Each takes about 5 ms of CPU, and 0.2 ms for each report after the first."""
FEW = 10
"""Reports that are written at once. With more, a write waits for further ones, up to `MAX_WAITS` intervals."""
MAX_WAITS = 3
MAX_SHARE = 0.05
"""Of its time, which a process spends writing. On a busy machine, deliveries go first, and lists are further behind."""
MAX_INTERVAL = 5.0
"""Seconds between two writes at most."""
RETRY_INTERVAL = 2.0
"""Seconds until another try while the registry is unavailable."""
MAX_REPORTS = 20_000
"""Reports that wait. A full buffer takes no further one, and deliveries go on."""
REPORTS_PER_WRITE = 200
DELIVERIES_PER_WRITE = 200
"""With more, the transaction would hold other writers up, and its preparation the event loop."""
CLOSE_TIMEOUT = 5.0
"""Seconds for the last write of a process that stops."""
log = structlog.get_logger("hookkeeper.index")


class IndexBuffer:
    """One for the process. `put` may be called in any thread."""

    def __init__(self, index: EventIndex) -> None:
        self._index = index
        self._reports: deque[RunReport] = deque()
        self._is_full = False
        self._flushing = asyncio.Lock()

    def put(self, report: RunReport) -> None:
        """Keep the report until it is written."""
        if len(self._reports) < MAX_REPORTS:
            self._reports.extend(_divided(report))
            return
        metrics.INDEX_REPORTS_DROPPED.inc()
        if not self._is_full:
            self._is_full = True
            log.warning("index buffer full: the sweep adds what is missing", reports=MAX_REPORTS)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write what is reported until the block ends, and then the rest."""
        metrics.watch_index_buffer(self._reports.__len__, MAX_REPORTS)
        try:
            async with in_background(self._write_regularly(), "write the index"):
                yield
        finally:
            await self._write_rest()

    async def _write_regularly(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            begin = clock()
            try:
                await self.flush()
            except RegistryUnavailable as error:
                log.warning("index not written", error=str(error), waiting=len(self._reports))
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                pause = (clock() - begin) / MAX_SHARE
                await asyncio.sleep(min(max(pause, FLUSH_INTERVAL), MAX_INTERVAL))
                await self._collect()

    async def _collect(self) -> None:
        """Wait for further reports if there are some, but not enough for one write."""
        for _ in range(MAX_WAITS):
            if FEW < len(self._reports) < REPORTS_PER_WRITE:
                await asyncio.sleep(FLUSH_INTERVAL)

    async def flush(self) -> None:
        """Write all reports. Raises RegistryUnavailable, and keeps what is not written then."""
        async with self._flushing:
            while self._reports:
                await self._write_oldest()

    async def _write_oldest(self) -> None:
        some = self._oldest()
        try:
            await self._index.write(some)
        except RegistryUnavailable:
            raise
        except Exception:
            log.exception("index not written: the sweep adds what is missing", reports=len(some))
        for _ in some:
            self._reports.popleft()
        self._is_full = False

    def _oldest(self) -> list[RunReport]:
        """Return as many reports as one write may have."""
        some: list[RunReport] = []
        size = 0
        for report in islice(self._reports.copy(), REPORTS_PER_WRITE):
            size += len(report.deliveries)
            if some and size > DELIVERIES_PER_WRITE:
                break
            some.append(report)
        return some

    async def _write_rest(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.flush()
        except (RegistryUnavailable, TimeoutError) as error:
            log.warning("index not written", error=str(error) or "timeout", waiting=len(self._reports))


def _divided(report: RunReport) -> Iterator[RunReport]:
    """Divide the report of a large event."""
    for n in range(0, len(report.deliveries) or 1, DELIVERIES_PER_WRITE):
        yield report._replace(deliveries=report.deliveries[n : n + DELIVERIES_PER_WRITE])
