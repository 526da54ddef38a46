"""Search runs in Temporal's visibility: pages with a cursor, and slices from the oldest run on.

Visibility has one order, newest first. So a search from the oldest run on takes slices of time, each small enough to be
sorted in memory.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from hookkeeper import ids
from hookkeeper.times import rfc3339

DELIVERING_RUNS = f"WorkflowType IN ('{ids.EVENT}', '{ids.PART}')"
"""The runs that have deliveries: those of events and of their parts."""
REDELIVERIES = f"{ids.RUN_NUMBER.name} IS NOT NULL"

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
RESOLUTION = timedelta(milliseconds=1)
"""The shortest slice: times in queries have milliseconds."""
IDS_PER_QUERY = 100
MAX_CONCURRENT_READS = 10
"""Items of a page that are read at the same time."""
CHECKSUM_BYTES = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


class BadCursor(ValueError):
    """Not a cursor of this list."""


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run, as visibility lists it."""

    workflow_id: str
    run_number: int
    is_open: bool
    started_at: datetime
    accepted_at: datetime
    """Of its event; a redelivery starts later."""
    status: WorkflowExecutionStatus | None
    needs_attention: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """The oldest runs, in the order in which their events were accepted."""

    runs: list[ListedRun]
    end: datetime | None
    """The start of the next slice; None after the last one."""


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


async def oldest(client: Client, query: str, since: datetime, until: datetime, at_most: int) -> Slice:
    """Return the oldest runs that were started from `since` on and before `until`: `at_most`, or about half of that.

    Raises Temporal's `RPCError`.
    """
    begin, end = _to_milliseconds(since), _to_milliseconds(until)
    count = await _count_within(client, query, begin, end)
    while count > at_most and end - begin > RESOLUTION:
        middle = _to_milliseconds(begin + (end - begin) / 2)
        older = await _count_within(client, query, begin, middle)
        if older:
            end, count = middle, older
        else:
            begin = middle
    if not count:
        return Slice([], None)
    runs = await runs_of(client, within(query, begin, end))
    runs.sort(key=lambda run: (run.accepted_at, run.started_at))
    return Slice(runs, None if end == _to_milliseconds(until) else end)


async def redeliveries(client: Client, workflow_ids: Iterable[str]) -> dict[str, list[ListedRun]]:
    """Return the runs with these ids that are redeliveries, by id."""
    sorted_ids = sorted(set(workflow_ids))
    by_id: dict[str, list[ListedRun]] = {}
    for n in range(0, len(sorted_ids), IDS_PER_QUERY):
        listed = ", ".join(map(quoted, sorted_ids[n : n + IDS_PER_QUERY]))
        for run in await runs_of(client, f"WorkflowId IN ({listed}) AND {REDELIVERIES}"):
            by_id.setdefault(run.workflow_id, []).append(run)
    return by_id


async def latest_run_numbers(client: Client, workflow_ids: Iterable[str]) -> dict[str, int]:
    """Return the highest run number of those ids that have redeliveries."""
    later = await redeliveries(client, workflow_ids)
    return {id_: max(run.run_number for run in runs) for id_, runs in later.items()}


async def runs_of(client: Client, query: str) -> list[ListedRun]:
    """Return all runs that match a query."""
    return [await _listed(run) async for run in client.list_workflows(query)]


async def count_runs(client: Client, query: str) -> int:
    """Count the runs that match a query."""
    return (await client.count_workflows(query)).count


def within(query: str, begin: datetime, end: datetime) -> str:
    """Narrow a query to runs that were started from `begin` on and before `end`."""
    return f"{query} AND StartTime >= '{rfc3339(begin)}' AND StartTime < '{rfc3339(end)}'"


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


async def _count_within(client: Client, query: str, begin: datetime, end: datetime) -> int:
    return await count_runs(client, within(query, begin, end)) if begin < end else 0


def _to_milliseconds(when: datetime) -> datetime:
    return when.replace(microsecond=when.microsecond // 1000 * 1000)


async def _listed(run: WorkflowExecution) -> ListedRun:
    attributes = run.typed_search_attributes
    return ListedRun(
        workflow_id=run.id,
        run_number=attributes.get(ids.RUN_NUMBER, 1),
        is_open=run.status == WorkflowExecutionStatus.RUNNING,
        started_at=run.start_time,
        accepted_at=await run.memo_value("accepted_at", default=run.start_time, type_hint=datetime),
        status=run.status,
        needs_attention=tuple(attributes.get(ids.NEEDS_ATTENTION, ())),
    )
