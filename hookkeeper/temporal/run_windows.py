"""List the runs of events that were opened or closed within some time, through Temporal's visibility.

All times are Temporal's own, so a process with a wrong clock lists the same.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from temporalio.client import Client, WorkflowExecution

from hookkeeper import temporal_names
from hookkeeper.temporal.visibility import of_tenant, quoted
from hookkeeper.times import rfc3339

PAGE = 500
"""Runs of one list. A server returns 1,000, but to decode so many would hold up the event loop."""
RESOLUTION = timedelta(milliseconds=1)
"""Times in queries have milliseconds."""
IS_RUNNING = "ExecutionStatus = 'Running'"


class RunWindows:
    """The runs of events on one task queue: own and shared ones. With a tenant, only its runs, and the shared
    runs of several tenants.
    """

    def __init__(self, client: Client, task_queue: str, tenant: str | None = None) -> None:
        self._client = client
        types = ", ".join(map(quoted, (temporal_names.EVENT, temporal_names.SHARED_RUN)))
        only = f" AND {of_tenant(tenant)}" if tenant is not None else ""
        self._query = f"WorkflowType IN ({types}) AND TaskQueue = {quoted(task_queue)}{only}"

    async def latest(self) -> datetime | None:
        """Return the latest time at which a run was opened or closed, as far as visibility knows: the present time, or
        a time before which nothing more will appear, apart from its delay.
        """
        opened = await self._first(f"{self._query} AND {IS_RUNNING}")
        closed = await self._first(f"{self._query} AND ExecutionStatus != 'Running'")
        times = (opened and opened.start_time, closed and closed.close_time)
        return max((time for time in times if time), default=None)

    async def changed(self, begin: datetime, end: datetime) -> AsyncIterator[list[WorkflowExecution]]:
        """Iterate over pages of the runs that were opened or closed from `begin` until `end`, including both."""
        since, until = f">= '{rfc3339(begin)}'", f"< '{rfc3339(end + RESOLUTION)}'"
        async for page in self._pages(f"StartTime {since} AND StartTime {until}"):
            yield page
        before = f"StartTime < '{rfc3339(begin)}'"
        async for page in self._pages(f"CloseTime {since} AND CloseTime {until} AND {before}"):
            yield page

    async def open_runs(self, before: datetime | None = None) -> AsyncIterator[list[WorkflowExecution]]:
        """Iterate over pages of open runs: all, or those that were opened earlier than a time."""
        earlier = f" AND StartTime < '{rfc3339(before)}'" if before else ""
        async for page in self._pages(IS_RUNNING + earlier):
            yield page

    async def count_since(self, begin: datetime) -> int:
        """Count the runs that were opened or closed since then, or are open."""
        opened = f"StartTime >= '{rfc3339(begin)}'"
        later = f"StartTime < '{rfc3339(begin)}' AND (CloseTime >= '{rfc3339(begin)}' OR {IS_RUNNING})"
        return sum([(await self._client.count_workflows(self._in_full(query))).count for query in (opened, later)])

    def _in_full(self, condition: str) -> str:
        return f"{self._query} AND ExecutionStatus != 'ContinuedAsNew' AND {condition}"

    async def _pages(self, condition: str) -> AsyncIterator[list[WorkflowExecution]]:
        runs = self._client.list_workflows(self._in_full(condition), page_size=PAGE)
        while True:
            await runs.fetch_next_page()
            if runs.current_page:
                yield list(runs.current_page)
            if not runs.next_page_token:
                return

    async def _first(self, query: str) -> WorkflowExecution | None:
        return await anext(self._client.list_workflows(query, page_size=1, limit=1), None)
