"""Tell a run whether it is the turn of its delivery to an ordered webhook."""

from datetime import timedelta

import structlog
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

from hookkeeper.messages.event import Turn, TurnRequest
from hookkeeper.policy import OrderPolicy
from hookkeeper.registry.events.lines import Lines
from hookkeeper.temporal.events.event_runs import EventRuns
from hookkeeper.temporal.events.lines import LineCalls, stuck_since
from hookkeeper.temporal.events.run_state import task_failure
from hookkeeper.times import utc_now

log = structlog.get_logger("hookkeeper.lines")
STARTED_AFTER = timedelta(seconds=30)
"""After this time, an event that was accepted has a run; acceptance takes five seconds at most."""
DEADLOCK = "TMPRL1101"
"""The SDK's code for a step that took more than two seconds, which can be due to a busy machine."""


class TurnActivities:
    """Raises RegistryUnavailable, and Temporal's `RPCError`: internal errors, which are retried."""

    def __init__(self, client: Client, lines: Lines, calls: LineCalls, runs: EventRuns) -> None:
        self._client = client
        self._lines = lines
        self._calls = calls
        self._runs = runs

    @activity.defn
    async def ask_turn(self, request: TurnRequest) -> Turn:
        """Look for deliveries that are ahead in the line. If they stay there for long, pass those that are gone."""
        turn, policy = await self._look(request)
        while turn.ahead and request.has_waited and await self._has_gone(request, policy):
            turn, policy = await self._look(request)
        return turn

    async def _look(self, request: TurnRequest) -> tuple[Turn, OrderPolicy | None]:
        """Return whether it is the delivery's turn, and the present policy of its webhook."""
        place = await self._lines.place(request.tenant, request.event_id, request.delivery)
        if place is None:
            return Turn(has_come=False, has_place=False), None
        is_free = place.ordered is None or (place.place is not None and not place.ahead)
        return Turn(has_come=is_free, has_place=place.place is not None, ahead=place.ahead), place.ordered

    async def _has_gone(self, request: TurnRequest, policy: OrderPolicy | None) -> bool:
        """Check the first delivery of the line; return whether it is not in the way any more."""
        head = await self._lines.head(request.webhook_id, request.line)
        if head is None or head.accepted_at > utc_now() - STARTED_AFTER:
            return head is None
        run = await self._calls.run_of(head)
        if not _is_open(run):
            await self._runs.repair(head.tenant, head.event_id)
            run = await self._calls.run_of(head)  # one that was lost is started again
        if run and _is_open(run) and not await self._is_failing(request.webhook_id, run, policy):
            return False
        await self._lines.leave(head)
        return True

    async def _is_failing(self, webhook_id: str, run: WorkflowExecutionDescription, policy: OrderPolicy | None) -> bool:
        """Report a stuck run; return whether its code fails, and the policy is `skip`: the others pass it."""
        since = stuck_since(run)
        if since is None:
            return False
        log.warning("a stuck run blocks an ordered webhook", webhook=webhook_id, run=run.id, since=since.isoformat())
        failure = await task_failure(self._client, run) if policy == "skip" else None
        return failure is not None and DEADLOCK not in failure


def _is_open(run: WorkflowExecutionDescription | None) -> bool:
    return run is not None and run.status == WorkflowExecutionStatus.RUNNING
