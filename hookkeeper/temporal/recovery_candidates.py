"""The runs that a recovery redelivers: count them, find them oldest first, redeliver them.

Visibility knows of each run which webhooks need attention. A query finds more than the recovery is about; the state of
each run decides.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from temporalio.client import Client, WorkflowExecutionStatus

from hookkeeper import ids
from hookkeeper.commands import Refused, UnknownDelivery
from hookkeeper.messages.event import Delivery, EventState
from hookkeeper.messages.recovery import (
    RecoverableStatus,
    RecoveryCandidate,
    RecoveryScope,
    RedeliveryResult,
)
from hookkeeper.temporal import run_state, visibility
from hookkeeper.temporal.error_translation import UnknownEvent, not_found_suppressed
from hookkeeper.temporal.event_commands import EventCommands
from hookkeeper.temporal.visibility import ListedRun
from hookkeeper.times import rfc3339

CLOSED: dict[RecoverableStatus, str] = {
    "failed": "ExecutionStatus = 'Failed'",
    # A run with a failed delivery closes as failed, also if other deliveries were cancelled.
    "cancelled": "ExecutionStatus IN ('Canceled', 'Terminated', 'TimedOut', 'Failed')",
}
MAX_EXACT_COUNT = 20_000
"""With more runs, events that have been redelivered since are counted too."""


class RecoveryCandidates:
    """Used by the activities of a recovery. Raises Temporal's `RPCError`, and `Unavailable`."""

    def __init__(self, client: Client, commands: EventCommands) -> None:
        self._client = client
        self._commands = commands

    async def count(self, scope: RecoveryScope) -> int:
        """Count the closed events that would be redelivered."""
        return await count(self._client, scope)

    async def oldest(
        self, scope: RecoveryScope, after: datetime, at_most: int
    ) -> tuple[list[RecoveryCandidate], datetime | None]:
        """Return the oldest candidates, each event once, and where the next search begins."""
        found = await visibility.oldest(self._client, query_of(scope), after, scope.until, at_most)
        later = await visibility.redeliveries(self._client, (run.workflow_id for run in found.runs))
        candidates = [
            RecoveryCandidate(workflow_id=run.workflow_id, is_open=run.is_open)
            for run in found.runs
            if _is_last_in_scope(run, later.get(run.workflow_id, ()), scope)
        ]
        return candidates, found.end

    async def redeliver(self, scope: RecoveryScope, workflow_id: str, off: Collection[str]) -> RedeliveryResult:
        """Redeliver the deliveries of a run that are in scope, unless that was done since the recovery began.

        Webhooks that are `off` are skipped: a requested delivery would be sent to them all the same.
        """
        state = await self._state(workflow_id)
        if state is None:
            return "skipped"
        in_scope = [delivery for delivery in state.deliveries if scope.webhook_id in (None, delivery.webhook_id)]
        due = [
            delivery
            for delivery in in_scope
            if delivery.webhook_id not in off and is_to_redeliver(delivery, state, scope)
        ]
        tenant, event_id = ids.event_of(workflow_id)
        accepted = [await self._retry(tenant, event_id, delivery.id) for delivery in due]
        if any(accepted) or any(was_reopened(delivery, state, scope.began) for delivery in in_scope):
            return "redelivered"
        return "nothing" if state.finished_at is None and not due else "skipped"

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


async def count(client: Client, scope: RecoveryScope) -> int:
    """Count the closed events that would be redelivered; of cancelled ones, those that may be.

    Raises Temporal's `RPCError`.
    """
    query = visibility.within(query_of(scope, closed_only=True), scope.since, scope.until)
    number = await visibility.count_runs(client, query)
    if not 0 < number <= MAX_EXACT_COUNT:
        return number
    later: dict[str, list[ListedRun]] = {}
    for run in await visibility.runs_of(client, _redeliveries_query(scope)):
        later.setdefault(run.workflow_id, []).append(run)
    found = await visibility.runs_of(client, query)
    return len({run.workflow_id for run in found if _is_lost([run, *later.get(run.workflow_id, ())], scope)})


def query_of(scope: RecoveryScope, *, closed_only: bool = False) -> str:
    """Write the visibility query for a recovery."""
    closed = CLOSED[scope.status]
    status = closed if closed_only else f"({closed} OR ExecutionStatus = 'Running')"
    conditions = [*_scope_conditions(scope), status]
    if scope.status == "failed":
        needs_attention = f"= '{scope.webhook_id}'" if scope.webhook_id else "IS NOT NULL"
        conditions.append(f"{ids.NEEDS_ATTENTION.name} {needs_attention}")
    return " AND ".join(conditions)


def _redeliveries_query(scope: RecoveryScope) -> str:
    since = f"StartTime >= '{rfc3339(scope.since)}'"
    return " AND ".join([*_scope_conditions(scope), visibility.REDELIVERIES, since])


def _scope_conditions(scope: RecoveryScope) -> list[str]:
    conditions = [visibility.DELIVERING_RUNS, f"{ids.TENANT.name} = '{scope.tenant}'"]
    if scope.webhook_id:
        conditions.append(f"{ids.WEBHOOKS.name} = '{scope.webhook_id}'")
    if scope.types:
        listed = ", ".join(f"'{type_}'" for type_ in scope.types)
        conditions.append(f"{ids.EVENT_TYPE.name} IN ({listed})")
    return conditions


def _is_last_in_scope(run: ListedRun, later: Iterable[ListedRun], scope: RecoveryScope) -> bool:
    """Return whether no later run of the event was started within the scope: that run is found itself, or succeeded.

    A run that was started after the scope does not count: its state is read when the event is redelivered.
    """
    return not any(other.run_number > run.run_number and other.started_at < scope.until for other in later)


def _is_lost(runs: Iterable[ListedRun], scope: RecoveryScope) -> bool:
    """Return whether the latest of an event's runs ended with the status of the scope, as far as visibility knows."""
    latest = max(runs, key=lambda run: run.run_number)
    if scope.status == "cancelled":
        return latest.execution_status not in (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED)
    return latest.status == "failed" and (scope.webhook_id is None or scope.webhook_id in latest.needs_attention)


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
