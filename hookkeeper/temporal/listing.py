"""Find events through Temporal's visibility. Open runs come first, then closed ones, newest first.

An event that goes in parts is listed by its own run, but a search for a webhook goes to the parts: that run lists the
first hundred webhooks only. What is found is shown as its event, and must be an event that the search means.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from hookkeeper import ids
from hookkeeper.messages.event import EventStatus
from hookkeeper.times import rfc3339

STATUS_QUERIES: dict[EventStatus, str] = {
    "scheduled": f"ExecutionStatus = 'Running' AND {ids.DELIVER_AT.name} IS NOT NULL",
    "delivering": f"ExecutionStatus = 'Running' AND {ids.DELIVER_AT.name} IS NULL",
    "succeeded": "ExecutionStatus = 'Completed'",
    "failed": "ExecutionStatus = 'Failed'",
    "cancelled": "ExecutionStatus IN ('Canceled', 'Terminated', 'TimedOut')",
}
STATUSES: dict[WorkflowExecutionStatus, EventStatus] = {
    WorkflowExecutionStatus.COMPLETED: "succeeded",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "cancelled",
    WorkflowExecutionStatus.TIMED_OUT: "cancelled",
}


SEAL_BYTES = 8


class BadCursor(ValueError):
    """Not a cursor of this list."""


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for; None means any."""

    tenant: str | None = None
    type: str | None = None
    webhook: str | None = None
    status: EventStatus | None = None
    needs_attention: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """An event as a list shows it, from what visibility knows."""

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


async def find(client: Client, search: Search, limit: int, cursor: str | None) -> tuple[list[Row], str | None]:
    """Give one page of events and the cursor of the next; raise `BadCursor` or Temporal's `RPCError`.

    A page can be shorter than `limit` and still not be the last: an event that was redelivered has a run each time,
    and only its latest is listed; and a part can be of an event that is not meant.
    """
    query = query_of(search)
    runs = client.list_workflows(query, page_size=limit, next_page_token=unsealed(query, cursor))
    await runs.fetch_next_page()
    rows = [await _row(run) for run in runs.current_page or []]
    latest = await _latest_numbers(client, rows)
    newest = [row for row in rows if row.run_number >= latest.get(row.workflow_id, 1)]
    return await _events_of(client, search, newest), sealed(query, runs.next_page_token)


def query_of(search: Search) -> str:
    """Write the search in visibility's language."""
    parts = ["ExecutionStatus != 'ContinuedAsNew'"]
    if search.tenant:
        parts.append(f"{ids.TENANT.name} = {_quoted(search.tenant)}")
    if search.type:
        parts.append(f"{ids.EVENT_TYPE.name} = {_quoted(search.type)}")
    if search.since:
        parts.append(f"StartTime >= {_quoted(rfc3339(search.since))}")
    whole = _of_events(search)
    if search.webhook:
        parts.append(f"{ids.WEBHOOKS.name} = {_quoted(search.webhook)}")
        alone = " AND ".join([f"WorkflowType = '{ids.EVENT}'", *whole])
        return " AND ".join([f"(WorkflowType = '{ids.PART}' OR ({alone}))", *parts])
    return " AND ".join([f"WorkflowType IN ('{ids.EVENT}', '{ids.LARGE_EVENT}')", *parts, *whole])


def _of_events(search: Search) -> list[str]:
    """Give the conditions on an event's own run that need not hold for its parts. `_is_meant` says the same."""
    parts: list[str] = []
    if search.status:
        parts.append(STATUS_QUERIES[search.status])
    if search.needs_attention is not None:
        parts.append(f"{ids.NEEDS_ATTENTION.name} IS {'NOT ' if search.needs_attention else ''}NULL")
    if search.until:
        parts.append(f"StartTime < {_quoted(rfc3339(search.until))}")
    return parts


def _is_meant(search: Search, row: Row) -> bool:
    return (
        (search.status is None or row.status == search.status)
        and (search.needs_attention is None or bool(row.needs_attention) == search.needs_attention)
        and (search.since is None or row.started_at >= search.since)
        and (search.until is None or row.started_at < search.until)
    )


async def _events_of(client: Client, search: Search, rows: list[Row]) -> list[Row]:
    """Put events in the place of their parts; one query a page, where it has any."""
    event_runs = {row.workflow_id: ids.workflow_id(row.tenant, row.id) for row in rows}
    wanted = sorted({event for found, event in event_runs.items() if event != found})
    if not wanted:
        return rows
    events: dict[str, Row] = {}
    query = f"WorkflowType = '{ids.LARGE_EVENT}' AND WorkflowId IN ({', '.join(map(_quoted, wanted))})"
    async for run in client.list_workflows(query):
        row = await _row(run)
        if row.workflow_id not in events or row.run_number > events[row.workflow_id].run_number:
            events[row.workflow_id] = row
    found = {event_runs[row.workflow_id]: row for row in rows if event_runs[row.workflow_id] == row.workflow_id}
    for event_id, event in events.items():
        if _is_meant(search, event):
            found[event_id] = _listing(event, search.webhook)
    return [found[each] for each in dict.fromkeys(event_runs.values()) if each in found]


def _listing(event: Row, webhook: str | None) -> Row:
    """Let an event that was found by a webhook list it, also where its own run has no room for it."""
    if webhook is None or webhook in event.webhooks:
        return event
    return replace(event, webhooks=(*event.webhooks, webhook))


async def _latest_numbers(client: Client, rows: list[Row]) -> dict[str, int]:
    """Give the highest run number of each event on the page that was redelivered: one query a page."""
    closed = sorted({row.workflow_id for row in rows if row.finished_at})
    latest: dict[str, int] = {}
    if closed:
        listed = ", ".join(map(_quoted, closed))
        query = f"WorkflowId IN ({listed}) AND {ids.RUN_NUMBER.name} IS NOT NULL"
        async for run in client.list_workflows(query):
            number = run.typed_search_attributes.get(ids.RUN_NUMBER, 1)
            latest[run.id] = max(number, latest.get(run.id, 1))
    return latest


async def _row(run: WorkflowExecution) -> Row:
    found = run.typed_search_attributes
    tenant, event_id = ids.event_of(run.id)
    deliver_at = found.get(ids.DELIVER_AT)
    waiting: EventStatus = "scheduled" if deliver_at else "delivering"
    return Row(
        id=event_id,
        type=found.get(ids.EVENT_TYPE, ""),
        tenant=tenant,
        status=STATUSES.get(run.status, waiting) if run.status else waiting,
        accepted_at=await run.memo_value("accepted_at", default=run.start_time, type_hint=datetime),
        started_at=run.start_time,
        finished_at=run.close_time,
        deliver_at=deliver_at,
        webhooks=tuple(found.get(ids.WEBHOOKS, ())),
        needs_attention=tuple(found.get(ids.NEEDS_ATTENTION, ())),
        workflow_id=run.id,
        run_id=run.run_id,
        run_number=found.get(ids.RUN_NUMBER, 1),
    )


def sealed(query: str, token: bytes | None) -> str | None:
    """Give the server's token with a seal: it fails in its own way, and slowly, on a token that it did not make."""
    return base64.urlsafe_b64encode(_seal(query, token) + token).decode() if token else None


def unsealed(query: str, cursor: str | None) -> bytes | None:
    """Give the server's token back; raise `BadCursor` for what `sealed` has not made of this query."""
    if cursor is None:
        return None
    try:
        sealed = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCursor("this cursor is of no list") from error
    seal, token = sealed[:SEAL_BYTES], sealed[SEAL_BYTES:]
    if seal != _seal(query, token):
        raise BadCursor("this cursor is of another list")
    return token


def _seal(query: str, token: bytes) -> bytes:
    return hashlib.sha256(query.encode() + b"\0" + token).digest()[:SEAL_BYTES]


def _quoted(value: str) -> str:
    """Quote a value; ids, types and tenants have no quotes in them, and the API has seen to that."""
    if "'" in value or "\\" in value:
        raise ValueError(f"not an id, a type or a tenant: {value!r}")
    return f"'{value}'"
