"""Find what has failed through Temporal's visibility: it knows of each run which webhooks are in trouble."""

from collections.abc import Iterable
from datetime import datetime

from temporalio.client import Client, WorkflowExecutionStatus

from hookkeeper import ids
from hookkeeper.messages.recovery import RecoverableStatus, RecoveryScope
from hookkeeper.temporal import scan
from hookkeeper.temporal.scan import Found
from hookkeeper.times import rfc3339

CLOSED: dict[RecoverableStatus, str] = {
    "failed": "ExecutionStatus = 'Failed'",
    # A run with a failed delivery counts as failed, whatever else was cancelled.
    "cancelled": "ExecutionStatus IN ('Canceled', 'Terminated', 'TimedOut', 'Failed')",
}
COUNTED_ONE_BY_ONE = 20_000
"""Of more runs, those that were delivered again since are counted too."""


async def count(client: Client, scope: RecoveryScope) -> int:
    """Count the finished events that would be redelivered; of cancelled ones, those that may be.

    Raises Temporal's `RPCError`.
    """
    query = scan.within(query_of(scope, closed_only=True), scope.since, scope.until)
    number = await scan.count_runs(client, query)
    if not 0 < number <= COUNTED_ONE_BY_ONE:
        return number
    later: dict[str, list[Found]] = {}
    for run in await scan.runs_of(client, _redeliveries(scope)):
        later.setdefault(run.workflow_id, []).append(run)
    found = await scan.runs_of(client, query)
    lost = {run.workflow_id for run in found if _is_lost([run, *later.get(run.workflow_id, ())], scope)}
    return len(lost)


async def oldest(
    client: Client, scope: RecoveryScope, after: datetime, at_most: int
) -> tuple[list[Found], datetime | None]:
    """Give the oldest runs with a delivery that may be meant, each event once, and where to go on."""
    part = await scan.oldest(client, query_of(scope), after, scope.until, at_most)
    later = await scan.redeliveries(client, (run.workflow_id for run in part.found))
    return [run for run in part.found if _is_last(run, later.get(run.workflow_id, ()), scope)], part.end


def query_of(scope: RecoveryScope, *, closed_only: bool = False) -> str:
    """Write what a recovery looks for in visibility's language. It finds more than is meant: runs are inspected."""
    closed = CLOSED[scope.status]
    status = closed if closed_only else f"({closed} OR ExecutionStatus = 'Running')"
    parts = [*_of_events(scope), status]
    if scope.status == "failed":
        needs_attention = f"= '{scope.webhook_id}'" if scope.webhook_id else "IS NOT NULL"
        parts.append(f"{ids.NEEDS_ATTENTION.name} {needs_attention}")
    return " AND ".join(parts)


def _redeliveries(scope: RecoveryScope) -> str:
    since = f"StartTime >= '{rfc3339(scope.since)}'"
    return " AND ".join([*_of_events(scope), scan.REDELIVERIES, since])


def _of_events(scope: RecoveryScope) -> list[str]:
    parts = [scan.RUNS_OF_EVENTS, f"{ids.TENANT.name} = '{scope.tenant}'"]
    if scope.webhook_id:
        parts.append(f"{ids.WEBHOOKS.name} = '{scope.webhook_id}'")
    if scope.types:
        listed = ", ".join(f"'{each}'" for each in scope.types)
        parts.append(f"{ids.EVENT_TYPE.name} IN ({listed})")
    return parts


def _is_last(run: Found, later: Iterable[Found], scope: RecoveryScope) -> bool:
    """Say whether no later run of the same event is in the scope's time: that one is met in its own turn, or was well.

    One that comes after that time does not count: what it came to is seen when the event is inspected.
    """
    return not any(each.run_number > run.run_number and each.started_at < scope.until for each in later)


def _is_lost(runs: Iterable[Found], scope: RecoveryScope) -> bool:
    """Say whether the latest of an event's runs has ended as is wanted, as far as visibility knows."""
    latest = max(runs, key=lambda each: each.run_number)
    if scope.status == "cancelled":
        return latest.status not in (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED)
    failed = latest.status == WorkflowExecutionStatus.FAILED
    return failed and (scope.webhook_id is None or scope.webhook_id in latest.needs_attention)
