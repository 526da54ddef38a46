"""List events through Temporal's visibility: open runs first, then closed ones, each newest first.

A large event is listed by its own run. A search for a webhook finds its parts instead, as its own run lists only the
first hundred webhooks; each part is then replaced by its event, which has to match the search itself.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from hookkeeper import ids
from hookkeeper.messages.event import EventStatus
from hookkeeper.temporal import visibility
from hookkeeper.temporal.visibility import quoted
from hookkeeper.times import rfc3339

STATUS_QUERIES: dict[EventStatus, str] = {
    "scheduled": f"ExecutionStatus = 'Running' AND {ids.DELIVER_AT.name} IS NOT NULL",
    "delivering": f"ExecutionStatus = 'Running' AND {ids.DELIVER_AT.name} IS NULL",
    "succeeded": "ExecutionStatus = 'Completed'",
    "failed": "ExecutionStatus = 'Failed'",
    "cancelled": "ExecutionStatus IN ('Canceled', 'Terminated', 'TimedOut')",
}
CLOSED_STATUSES: dict[WorkflowExecutionStatus | None, EventStatus] = {
    WorkflowExecutionStatus.COMPLETED: "succeeded",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "cancelled",
    WorkflowExecutionStatus.TIMED_OUT: "cancelled",
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


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """An event, as visibility lists it."""

    id: str
    type: str
    tenant: str
    status: EventStatus
    accepted_at: datetime
    started_at: datetime
    """Of the run: a redelivery has a later one."""
    finished_at: datetime | None
    deliver_at: datetime | None
    webhooks: tuple[str, ...]
    needs_attention: tuple[str, ...]
    workflow_id: str
    run_id: str
    run_number: int


async def find(
    client: Client, search: EventSearch, limit: int, cursor: str | None
) -> tuple[list[ListedEvent], str | None]:
    """Return one page of events and the cursor of the next; raise `BadCursor` or Temporal's `RPCError`.

    A page can have fewer than `limit` events and not be the last: only the latest run of an event is listed, and the
    event of a part may not match.
    """
    runs, next_cursor = await visibility.page(client, query_of(search), limit, cursor)
    rows = [await _row(run) for run in runs]
    latest = await visibility.latest_run_numbers(client, (row.workflow_id for row in rows if row.finished_at))
    newest = [row for row in rows if row.run_number >= latest.get(row.workflow_id, 1)]
    return await _with_events_for_parts(client, search, newest), next_cursor


def query_of(search: EventSearch) -> str:
    """Write the search as a visibility query."""
    conditions = ["ExecutionStatus != 'ContinuedAsNew'"]
    if search.tenant:
        conditions.append(f"{ids.TENANT.name} = {quoted(search.tenant)}")
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


def _matches(search: EventSearch, row: ListedEvent) -> bool:
    return (
        (search.status is None or row.status == search.status)
        and (search.needs_attention is None or bool(row.needs_attention) == search.needs_attention)
        and (search.since is None or row.started_at >= search.since)
        and (search.until is None or row.started_at < search.until)
    )


async def _with_events_for_parts(client: Client, search: EventSearch, rows: list[ListedEvent]) -> list[ListedEvent]:
    """Replace parts by their events; one query a page if there are any."""
    event_runs = {row.workflow_id: ids.workflow_id(row.tenant, row.id) for row in rows}
    missing = sorted({event for found, event in event_runs.items() if event != found})
    if not missing:
        return rows
    events: dict[str, ListedEvent] = {}
    query = f"WorkflowType = '{ids.LARGE_EVENT}' AND WorkflowId IN ({', '.join(map(quoted, missing))})"
    async for run in client.list_workflows(query):
        row = await _row(run)
        if row.workflow_id not in events or row.run_number > events[row.workflow_id].run_number:
            events[row.workflow_id] = row
    found = {row.workflow_id: row for row in rows if event_runs[row.workflow_id] == row.workflow_id}
    for event_id, event in events.items():
        if _matches(search, event):
            found[event_id] = _with_webhook(event, search.webhook)
    return [found[run] for run in dict.fromkeys(event_runs.values()) if run in found]


def _with_webhook(event: ListedEvent, webhook: str | None) -> ListedEvent:
    """Add the webhook of the search, which the event's own run may not list."""
    if webhook is None or webhook in event.webhooks:
        return event
    return replace(event, webhooks=(*event.webhooks, webhook))


async def _row(run: WorkflowExecution) -> ListedEvent:
    tenant, event_id = ids.event_of(run.id)
    attributes = run.typed_search_attributes
    deliver_at = attributes.get(ids.DELIVER_AT)
    return ListedEvent(
        id=event_id,
        type=attributes.get(ids.EVENT_TYPE, ""),
        tenant=tenant,
        status=CLOSED_STATUSES.get(run.status, "scheduled" if deliver_at else "delivering"),
        accepted_at=await run.memo_value("accepted_at", default=run.start_time, type_hint=datetime),
        started_at=run.start_time,
        finished_at=run.close_time,
        deliver_at=deliver_at,
        webhooks=tuple(attributes.get(ids.WEBHOOKS, ())),
        needs_attention=tuple(attributes.get(ids.NEEDS_ATTENTION, ())),
        workflow_id=run.id,
        run_id=run.run_id,
        run_number=attributes.get(ids.RUN_NUMBER, 1),
    )
