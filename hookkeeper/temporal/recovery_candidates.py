"""The runs that a recovery redelivers: find them oldest first, redeliver them.

The index has them in order, and visibility those that the index lacks. The state of each run decides.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.commands import Refused, UnknownDelivery
from hookkeeper.messages.event import FINAL, Delivery, EventState
from hookkeeper.messages.recovery import (
    RecoverableStatus,
    RecoveryCandidate,
    RecoveryPlan,
    RecoveryScope,
    RecoverySearch,
    RedeliveryResult,
)
from hookkeeper.messages.walk import RunPosition
from hookkeeper.registry.index.walks import IndexedDelivery, Walks, recoverable
from hookkeeper.temporal import run_state, unindexed_runs, visibility
from hookkeeper.temporal.error_translation import UnknownEvent, not_found_suppressed
from hookkeeper.temporal.event_commands import EventCommands
from hookkeeper.temporal.visibility import ListedRun, quoted
from hookkeeper.times import rfc3339, utc_now

CLOSED: dict[RecoverableStatus, str] = {
    "failed": "ExecutionStatus = 'Failed'",
    # A run with a failed delivery closes as failed, also if other deliveries were cancelled.
    "cancelled": "ExecutionStatus IN ('Canceled', 'Terminated', 'TimedOut', 'Failed')",
}
REPORT_DELAY = timedelta(minutes=1)
"""From the time of an attempt until its report is in the index, unless it was lost."""


class RecoveryCandidates:
    """Used by the activities of a recovery. Raises Temporal's `RPCError`, `Unavailable` and RegistryUnavailable."""

    def __init__(self, client: Client, walks: Walks, commands: EventCommands) -> None:
        self._client = client
        self._walks = walks
        self._commands = commands

    async def count(self, scope: RecoveryScope) -> int:
        """Count the events that would be redelivered."""
        return await self._walks.count(recoverable(scope), scope.began)

    async def oldest(self, search: RecoverySearch, at_most: int) -> RecoveryPlan:
        """Return the oldest candidates, each run once."""
        if search.source == "visibility":
            return await self._unindexed(search, at_most)
        scope = search.scope
        found, end = await self._walks.oldest(recoverable(scope), search.after, at_most)
        runs = tuple(
            _candidate(scope, run.position, is_counted=run.finished_at is not None and run.finished_at < scope.began)
            for run in found
        )
        return RecoveryPlan(runs=runs, end=end)

    async def redeliver(self, scope: RecoveryScope, run: RecoveryCandidate, off: Collection[str]) -> RedeliveryResult:
        """Redeliver the deliveries of a run that are in scope, unless that was done since the recovery began.

        Webhooks that are `off` are skipped: a requested delivery would be sent to them all the same.
        """
        state = await self._state(run.workflow_id)
        if state is None:
            return "skipped"
        in_scope = [delivery for delivery in state.deliveries if scope.webhook_id in (None, delivery.webhook_id)]
        due = [
            delivery
            for delivery in in_scope
            if delivery.webhook_id not in off and is_to_redeliver(delivery, state, scope)
        ]
        tenant, event_id = ids.event_of(run.workflow_id)
        accepted = [await self._retry(tenant, event_id, delivery.id) for delivery in due]
        # What was not counted may be a run that was redelivered before.
        is_done = run.is_counted and any(was_reopened(delivery, state, scope.began) for delivery in in_scope)
        return "redelivered" if any(accepted) or is_done else "skipped"

    async def _unindexed(self, search: RecoverySearch, at_most: int) -> RecoveryPlan:
        """Return the oldest runs in visibility of which the index lacks the latest state."""
        scope, now = search.scope, utc_now()

        def is_indexed(run: ListedRun, deliveries: Sequence[IndexedDelivery]) -> bool:
            is_in_scope = scope.since <= run.accepted_at < scope.until
            return not is_in_scope or is_up_to_date(run, deliveries, now)

        found, end = await unindexed_runs.oldest(
            self._client, self._walks, query_of(scope), scope.webhook_id, is_indexed, search.after, at_most
        )
        return RecoveryPlan(runs=tuple(_candidate(scope, position, is_counted=False) for position in found), end=end)

    async def _state(self, workflow_id: str) -> EventState | None:
        with not_found_suppressed():
            run = await self._client.get_workflow_handle(workflow_id).describe()
            handle = self._client.get_workflow_handle(workflow_id, run_id=run.run_id)
            return await run_state.state_of(self._client, handle, run.status)
        return None

    async def _retry(self, tenant: str, event_id: str, delivery: str) -> bool:
        try:
            await self._commands.send(tenant, event_id, "retry", delivery)
        except (Refused, UnknownDelivery, UnknownEvent):
            return False
        return True


def _candidate(scope: RecoveryScope, position: RunPosition, *, is_counted: bool) -> RecoveryCandidate:
    workflow_id = ids.run_of(scope.tenant, position.event_id, position.part)
    return RecoveryCandidate(workflow_id=workflow_id, is_counted=is_counted)


def query_of(scope: RecoveryScope) -> str:
    """Write the visibility query for the runs that a recovery may redeliver. The index has most of them too."""
    conditions = [
        visibility.DELIVERING_RUNS,
        f"{ids.TENANT.name} = {quoted(scope.tenant)}",
        f"({CLOSED[scope.status]} OR ExecutionStatus = 'Running')",
        f"StartTime >= '{rfc3339(scope.since)}' AND StartTime < '{rfc3339(scope.until)}'",
    ]
    if scope.webhook_id:
        conditions.append(f"{ids.WEBHOOKS.name} = {quoted(scope.webhook_id)}")
    if scope.types:
        conditions.append(f"{ids.EVENT_TYPE.name} IN ({', '.join(map(quoted, scope.types))})")
    if scope.status == "failed":
        needs_attention = f"= {quoted(scope.webhook_id)}" if scope.webhook_id else "IS NOT NULL"
        conditions.append(f"{ids.NEEDS_ATTENTION.name} {needs_attention}")
    return " AND ".join(conditions)


def is_up_to_date(run: ListedRun, deliveries: Sequence[IndexedDelivery], now: datetime) -> bool:
    """Return whether the index, which has these deliveries of a run, lacks none of its reports."""
    if not deliveries:
        return False
    if run.finished_at is None:
        return not any(_is_overdue(delivery, now) for delivery in deliveries)
    return all(
        delivery.as_of > run.finished_at or (delivery.status in FINAL and delivery.as_of >= run.started_at)
        for delivery in deliveries
    )


def _is_overdue(delivery: IndexedDelivery, now: datetime) -> bool:
    """Return whether the delivery was to have an attempt, and none is reported."""
    if delivery.status in FINAL or delivery.status == "held":
        return False
    return (delivery.next_attempt_at or delivery.as_of) < now - REPORT_DELAY


def is_to_redeliver(delivery: Delivery, state: EventState, scope: RecoveryScope) -> bool:
    """Return whether a delivery has the status of the scope, and was not reopened since the recovery began."""
    return delivery.status == scope.status and not was_reopened(delivery, state, scope.began)


def was_reopened(delivery: Delivery, state: EventState, began: datetime) -> bool:
    """Return whether a delivery was reopened since then, by a recovery or by request."""
    if not delivery.requested or not delivery.redelivered_from:
        return False
    since = [attempt for attempt in delivery.attempts if attempt.number >= delivery.redelivered_from]
    if since:
        return since[0].started_at >= began
    return state.finished_at is None or state.finished_at >= began
