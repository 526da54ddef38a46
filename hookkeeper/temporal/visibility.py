"""Search runs in Temporal's visibility, newest first: it has no other order."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from temporalio.client import Client, WorkflowExecution

from hookkeeper import ids

DELIVERING_RUNS = f"WorkflowType IN ('{ids.EVENT}', '{ids.PART}')"
"""The runs that have deliveries: those of events and of their parts."""
MAX_CONCURRENT_READS = 10
"""Items of a page that are read at the same time."""
CHECKSUM_BYTES = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


class BadCursor(ValueError):
    """Not a cursor of this list."""


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run of an event, or of a part, as visibility lists it."""

    workflow_id: str
    event_id: str
    tenant: str
    accepted_at: datetime
    started_at: datetime
    """Later than `accepted_at` if the run is a redelivery."""
    finished_at: datetime | None


async def page(
    client: Client, query: str, limit: int, cursor: str | None
) -> tuple[list[WorkflowExecution], str | None]:
    """Return a page of runs, newest first, and the cursor of the next page. Raises `BadCursor` and `RPCError`."""
    runs = client.list_workflows(query, page_size=limit, next_page_token=decode_cursor(query, cursor))
    await runs.fetch_next_page()
    return list(runs.current_page or []), encode_cursor(query, runs.next_page_token)


async def read_all(items: Iterable[Item], read: Callable[[Item], Awaitable[Result]]) -> list[Result]:
    """Read each item of a page, `MAX_CONCURRENT_READS` at the same time."""
    slots = asyncio.Semaphore(MAX_CONCURRENT_READS)

    async def read_one(item: Item) -> Result:
        async with slots:
            return await read(item)

    return await asyncio.gather(*map(read_one, items))


async def runs_of(client: Client, query: str) -> list[ListedRun]:
    """Return all runs that match a query."""
    return [await listed(run) async for run in client.list_workflows(query) if ids.is_event_run(run.id)]


async def pages(client: Client, query: str) -> AsyncIterator[list[ListedRun]]:
    """Iterate over pages of the runs that match a query. No page is empty."""
    runs = client.list_workflows(query)
    while True:
        await runs.fetch_next_page()
        if page := [await listed(run) for run in runs.current_page or () if ids.is_event_run(run.id)]:
            yield page
        if not runs.next_page_token:
            return


async def listed(run: WorkflowExecution) -> ListedRun:
    """Convert a run as Temporal lists it."""
    tenant, event_id = ids.event_of(run.id)
    return ListedRun(
        workflow_id=run.id,
        event_id=event_id,
        tenant=tenant,
        accepted_at=await run.memo_value("accepted_at", default=run.start_time, type_hint=datetime),
        started_at=run.start_time,
        finished_at=run.close_time,
    )


def quoted(value: str) -> str:
    """Quote an id, an event type or a tenant; the API accepts none with a quote in it."""
    if "'" in value or "\\" in value:
        raise ValueError(f"not an id, a type or a tenant: {value!r}")
    return f"'{value}'"


def encode_cursor(query: str, token: bytes | None) -> str | None:
    """Return the server's page token with a checksum: the server may fail on a token that it did not make."""
    return base64.urlsafe_b64encode(_checksum(query, token) + token).decode() if token else None


def decode_cursor(query: str, cursor: str | None) -> bytes | None:
    """Return the server's page token; raise `BadCursor` if `encode_cursor` did not make the cursor for this query."""
    if cursor is None:
        return None
    try:
        decoded = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCursor("this cursor is of no list") from error
    checksum, token = decoded[:CHECKSUM_BYTES], decoded[CHECKSUM_BYTES:]
    if checksum != _checksum(query, token):
        raise BadCursor("this cursor is of another list")
    return token


def _checksum(query: str, token: bytes) -> bytes:
    return hashlib.sha256(query.encode() + b"\0" + token).digest()[:CHECKSUM_BYTES]
