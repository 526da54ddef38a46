"""The runs of deliveries in lines (`hookkeeper.registry.events.lines`): call those whose turn may have come, and find
out whether the first one is stuck.
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids, temporal_names
from hookkeeper.asyncio_tasks import wait_for_all
from hookkeeper.messages.rows import DeliveryRow
from hookkeeper.policy import OrderPolicy
from hookkeeper.registry.events.lines import Lines
from hookkeeper.temporal.events.run_state import find_run
from hookkeeper.temporal.server.connection import BUSY
from hookkeeper.temporal.server.error_translation import Unavailable, translated_errors
from hookkeeper.times import utc_now

log = structlog.get_logger("hookkeeper.lines")
CALL_TIMEOUT = timedelta(seconds=2)
MAX_CALLS = 20
"""For a delivery whose turn may have come, as those behind it are called if it has no run."""
STUCK_AFTER = timedelta(minutes=1)
"""A run is stuck if no worker has completed its workflow task for this time."""


class LineState(NamedTuple):
    """What is shown of the lines of a webhook."""

    waiting: int
    """Deliveries in them, including the first ones."""
    head: str | None
    """The event of the oldest one; `<event id>.<n>` for its nth run."""
    stuck_since: datetime | None
    """Since when no worker has gone on with its run."""


class LineCalls:
    """One for the process. Runs that wait also ask again after some time, which grows with their number in the line."""

    def __init__(self, client: Client, lines: Lines) -> None:
        self._client = client
        self._lines = lines

    async def call(self, waiting: Iterable[DeliveryRow]) -> None:
        """Let runs ask whether it is their turn.

        Raises RegistryUnavailable, and Temporal's `RPCError` if it is too busy to tell them all.
        """
        await wait_for_all(map(self._call, waiting))

    async def note_change(self, webhook_id: str, ordered: OrderPolicy | None) -> None:
        """After a change of a webhook's order, or its deletion, let the first runs of its lines ask.

        Those behind them follow. Raises RegistryUnavailable.
        """
        if ordered != "block":
            await self._lines.pass_failed(webhook_id)
        with suppress(RPCError):
            await self.call(await self._lines.foremost(webhook_id))

    async def state(self, webhook_id: str) -> LineState:
        """Return the state of a webhook's lines. Raises `Unavailable`, and RegistryUnavailable."""
        head = await self._lines.head(webhook_id)
        if head is None:
            return LineState(0, None, None)
        async with translated_errors(not_found=Unavailable):
            since = stuck_since(await self.run_of(head))
        name = f"{head.event_id}.{head.part}" if head.part > 1 else head.event_id
        return LineState(await self._lines.count(webhook_id), name, since)

    async def _call(self, waiting: DeliveryRow) -> None:
        """Call a run; in place of one that is not there, the one behind it: it would wait for its timer otherwise."""
        for _ in range(MAX_CALLS):
            if await self._is_called(waiting) or (behind := await self._lines.behind(waiting)) is None:
                return
            waiting = behind

    async def _is_called(self, waiting: DeliveryRow) -> bool:
        """Call a run; return False if it has closed, or was not started."""
        run = self._client.get_workflow_handle(ids.run_of(waiting.tenant, waiting.event_id, waiting.part))
        try:
            await run.signal(temporal_names.TURN, waiting.webhook_id, rpc_timeout=CALL_TIMEOUT)
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return False
            log.warning("a run could not be called", run=run.id, error=error.message)
            if error.status in BUSY:
                raise
        return True

    async def run_of(self, head: DeliveryRow) -> WorkflowExecutionDescription | None:
        """Return the run of a delivery; None if there is none. Raises Temporal's `RPCError`."""
        return await find_run(self._client, ids.run_of(head.tenant, head.event_id, head.part))


def stuck_since(run: WorkflowExecutionDescription | None) -> datetime | None:
    """Return since when no worker has completed the workflow task of a run, if it is stuck."""
    if run is None or not run.raw_description.HasField("pending_workflow_task"):
        return None
    since = run.raw_description.pending_workflow_task.original_scheduled_time.ToDatetime(tzinfo=UTC)
    return since if since < utc_now() - STUCK_AFTER else None
