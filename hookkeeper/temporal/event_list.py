"""List events through Temporal's visibility: open runs first, then closed ones, each newest first.

A large event is listed by its own run. A search for a webhook finds its parts instead, as its own run lists only the
first hundred webhooks; each part is then replaced by its event, which has to match the search itself.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.messages.event import EventStatus
from hookkeeper.temporal import visibility
from hookkeeper.temporal.visibility import ListedRun, quoted
from hookkeeper.times import rfc3339

STATUS_QUERIES: dict[EventStatus, str] = {
    "scheduled": f"ExecutionStatus = 'Running' AND {ids.DELIVER_AT.name} IS NOT NULL",
    "delivering": f"ExecutionStatus = 'Running' AND {ids.DELIVER_AT.name} IS NULL",
    "succeeded": "ExecutionStatus = 'Completed'",
    "failed": "ExecutionStatus = 'Failed'",
    "cancelled": "ExecutionStatus IN ('Canceled', 'Terminated', 'TimedOut')",
}


@dataclass(frozen=True, slots=True)
class EventSearch:
    """Conditions of a search; None means any."""

    tenant: str | None = None
    type: str | None = None
    webhook: str | None = None
    status: EventStatus | None = None
    needs_attention: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


async def find(
    client: Client, search: EventSearch, limit: int, cursor: str | None
) -> tuple[list[ListedRun], str | None]:
    """Return one page of events and the cursor of the next; raise `BadCursor` or Temporal's `RPCError`.

    A page can have fewer than `limit` events and not be the last: only the latest run of an event is listed, and the
    event of a part may not match.
    """
    runs, next_cursor = await visibility.page(client, query_of(search), limit, cursor)
    latest = await visibility.without_superseded(client, [await visibility.listed(run) for run in runs])
    return await _with_events_for_parts(client, search, latest), next_cursor


def query_of(search: EventSearch) -> str:
    """Write the search as a visibility query."""
    # A run that was started with Temporal's own tools has no tenant, and an id of any form.
    of_tenant = f"= {quoted(search.tenant)}" if search.tenant else "IS NOT NULL"
    conditions = ["ExecutionStatus != 'ContinuedAsNew'", f"{ids.TENANT.name} {of_tenant}"]
    if search.type:
        conditions.append(f"{ids.EVENT_TYPE.name} = {quoted(search.type)}")
    if search.since:
        conditions.append(f"StartTime >= {quoted(rfc3339(search.since))}")
    of_event = _event_conditions(search)
    if search.webhook:
        conditions.append(f"{ids.WEBHOOKS.name} = {quoted(search.webhook)}")
        undivided = " AND ".join([f"WorkflowType = '{ids.EVENT}'", *of_event])
        return " AND ".join([f"(WorkflowType = '{ids.PART}' OR ({undivided}))", *conditions])
    return " AND ".join([f"WorkflowType IN ('{ids.EVENT}', '{ids.LARGE_EVENT}')", *conditions, *of_event])


def _event_conditions(search: EventSearch) -> list[str]:
    """Return the conditions for an event's own run, which its parts need not meet. `_matches` checks the same."""
    conditions: list[str] = []
    if search.status:
        conditions.append(STATUS_QUERIES[search.status])
    if search.needs_attention is not None:
        conditions.append(f"{ids.NEEDS_ATTENTION.name} IS {'NOT ' if search.needs_attention else ''}NULL")
    if search.until:
        conditions.append(f"StartTime < {quoted(rfc3339(search.until))}")
    return conditions


def _matches(search: EventSearch, run: ListedRun) -> bool:
    return (
        (search.status is None or run.status == search.status)
        and (search.needs_attention is None or bool(run.needs_attention) == search.needs_attention)
        and (search.since is None or run.started_at >= search.since)
        and (search.until is None or run.started_at < search.until)
    )


async def _with_events_for_parts(client: Client, search: EventSearch, runs: list[ListedRun]) -> list[ListedRun]:
    """Replace parts by their events; one query a page if there are any."""
    event_runs = {run.workflow_id: ids.workflow_id(run.tenant, run.event_id) for run in runs}
    missing = sorted({event for found, event in event_runs.items() if event != found})
    if not missing:
        return runs
    query = f"WorkflowType = '{ids.LARGE_EVENT}' AND WorkflowId IN ({', '.join(map(quoted, missing))})"
    by_age = sorted(await visibility.runs_of(client, query), key=lambda run: run.run_number)
    latest = {run.workflow_id: run for run in by_age}
    found = {run.workflow_id: run for run in runs if event_runs[run.workflow_id] == run.workflow_id}
    for workflow_id, event in latest.items():
        if _matches(search, event):
            found[workflow_id] = _with_webhook(event, search.webhook)
    return [found[run] for run in dict.fromkeys(event_runs.values()) if run in found]


def _with_webhook(event: ListedRun, webhook: str | None) -> ListedRun:
    """Add the webhook of the search, which the event's own run may not list."""
    if webhook is None or webhook in event.webhooks:
        return event
    return replace(event, webhooks=(*event.webhooks, webhook))
