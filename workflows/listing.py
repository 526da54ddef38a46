"""Find runs through Temporal's visibility. Open runs come first, then closed ones, newest first."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import datetime

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from times import rfc3339
from workflows import names
from workflows.models import EventStatus

STATUS_QUERIES: dict[EventStatus, str] = {
    "scheduled": f"ExecutionStatus = 'Running' AND {names.DELIVER_AT.name} IS NOT NULL",
    "delivering": f"ExecutionStatus = 'Running' AND {names.DELIVER_AT.name} IS NULL",
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
    trouble: bool | None = None
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
    finished_at: datetime | None
    deliver_at: datetime | None
    webhooks: tuple[str, ...]
    trouble: tuple[str, ...]
    workflow_id: str
    run_id: str
    run_number: int


async def find(client: Client, search: Search, limit: int, cursor: str | None) -> tuple[list[Row], str | None]:
    """Give one page of events and the cursor of the next; raise `BadCursor` or Temporal's `RPCError`.

    A page can be shorter than `limit` and still not be the last: an event that was redelivered has a run each time,
    and only its latest is listed.
    """
    query = query_of(search)
    runs = client.list_workflows(query, page_size=limit, next_page_token=_token(query, cursor))
    await runs.fetch_next_page()
    rows = [await _row(run) for run in runs.current_page or []]
    latest = await _latest_numbers(client, rows)
    newest = [row for row in rows if row.run_number >= latest.get(row.workflow_id, 1)]
    return newest, _cursor(query, runs.next_page_token)


def query_of(search: Search) -> str:
    """Write the search in visibility's language."""
    parts = ["WorkflowType = 'EventWorkflow'", "ExecutionStatus != 'ContinuedAsNew'"]
    if search.tenant:
        parts.append(f"{names.TENANT.name} = {_quoted(search.tenant)}")
    if search.type:
        parts.append(f"{names.EVENT_TYPE.name} = {_quoted(search.type)}")
    if search.webhook:
        parts.append(f"{names.WEBHOOKS.name} = {_quoted(search.webhook)}")
    if search.status:
        parts.append(STATUS_QUERIES[search.status])
    if search.trouble is not None:
        parts.append(f"{names.TROUBLE.name} IS {'NOT ' if search.trouble else ''}NULL")
    if search.since:
        parts.append(f"StartTime >= {_quoted(rfc3339(search.since))}")
    if search.until:
        parts.append(f"StartTime < {_quoted(rfc3339(search.until))}")
    return " AND ".join(parts)


async def _latest_numbers(client: Client, rows: list[Row]) -> dict[str, int]:
    """Give the highest run number of each event on the page that was redelivered: one query a page."""
    closed = sorted({row.workflow_id for row in rows if row.finished_at})
    latest: dict[str, int] = {}
    if closed:
        ids = ", ".join(map(_quoted, closed))
        query = f"WorkflowId IN ({ids}) AND {names.RUN_NUMBER.name} IS NOT NULL"
        async for run in client.list_workflows(query):
            number = run.typed_search_attributes.get(names.RUN_NUMBER, 1)
            latest[run.id] = max(number, latest.get(run.id, 1))
    return latest


async def _row(run: WorkflowExecution) -> Row:
    found = run.typed_search_attributes
    tenant, event_id = names.event_of(run.id)
    deliver_at = found.get(names.DELIVER_AT)
    waiting: EventStatus = "scheduled" if deliver_at else "delivering"
    return Row(
        id=event_id,
        type=found.get(names.EVENT_TYPE, ""),
        tenant=tenant,
        status=STATUSES.get(run.status, waiting) if run.status else waiting,
        accepted_at=await run.memo_value("accepted_at", default=run.start_time, type_hint=datetime),
        finished_at=run.close_time,
        deliver_at=deliver_at,
        webhooks=tuple(found.get(names.WEBHOOKS, ())),
        trouble=tuple(found.get(names.TROUBLE, ())),
        workflow_id=run.id,
        run_id=run.run_id,
        run_number=found.get(names.RUN_NUMBER, 1),
    )


def _cursor(query: str, token: bytes | None) -> str | None:
    """Give the server's token with a seal: it fails in its own way, and slowly, on a token that it did not make."""
    return base64.urlsafe_b64encode(_seal(query, token) + token).decode() if token else None


def _token(query: str, cursor: str | None) -> bytes | None:
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
