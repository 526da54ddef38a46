"""Walk Temporal's visibility from the oldest run on.

A list has no order but its own, newest first. So we go by slices of time, each small enough to be sorted in memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from hookkeeper import ids
from hookkeeper.times import rfc3339

RUNS_OF_EVENTS = f"WorkflowType IN ('{ids.EVENT}', '{ids.PART}')"
"""What delivers: the runs of events, and of their parts."""
REDELIVERIES = f"{ids.RUN_NUMBER.name} IS NOT NULL"

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
RESOLUTION = timedelta(milliseconds=1)
"""A slice is no thinner: times are written in milliseconds."""
IDS_AT_ONCE = 100
"""Workflow ids that one query names."""


@dataclass(frozen=True, slots=True)
class Found:
    """A run, as visibility knows it."""

    workflow_id: str
    run_number: int
    is_open: bool
    started_at: datetime
    accepted_at: datetime
    """When its event was; a redelivery starts later."""
    status: WorkflowExecutionStatus | None
    needs_attention: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """The oldest runs, in the order in which their events were accepted."""

    found: list[Found]
    end: datetime | None
    """Where the next slice begins; None: there is no more."""


async def oldest(client: Client, query: str, since: datetime, until: datetime, at_most: int) -> Slice:
    """Give the oldest runs that were started from `since` on and before `until`: about `at_most`, or half of that.

    Raises Temporal's `RPCError`.
    """
    begin, end = _whole(since), _whole(until)
    count = await _count(client, query, begin, end)
    while count > at_most and end - begin > RESOLUTION:
        middle = _whole(begin + (end - begin) / 2)
        older = await _count(client, query, begin, middle)
        if older:
            end, count = middle, older
        else:
            begin = middle
    last = end == _whole(until)
    if not count:
        return Slice([], None)
    runs = await runs_of(client, within(query, begin, end))
    runs.sort(key=lambda each: (each.accepted_at, each.started_at))
    return Slice(runs, None if last else end)


async def redeliveries(client: Client, workflow_ids: Iterable[str]) -> dict[str, list[Found]]:
    """Give, of these ids, all runs that are redeliveries, by id."""
    sorted_ids = sorted(set(workflow_ids))
    known: dict[str, list[Found]] = {}
    for n in range(0, len(sorted_ids), IDS_AT_ONCE):
        listed = ", ".join(f"'{each}'" for each in sorted_ids[n : n + IDS_AT_ONCE])
        for run in await runs_of(client, f"WorkflowId IN ({listed}) AND {REDELIVERIES}"):
            known.setdefault(run.workflow_id, []).append(run)
    return known


async def runs_of(client: Client, query: str) -> list[Found]:
    """Give all runs that a query finds."""
    return [await _found(run) async for run in client.list_workflows(query)]


async def count_runs(client: Client, query: str) -> int:
    """Say how many runs a query finds."""
    return (await client.count_workflows(query)).count


async def _count(client: Client, query: str, begin: datetime, end: datetime) -> int:
    return await count_runs(client, within(query, begin, end)) if begin < end else 0


def within(query: str, begin: datetime, end: datetime) -> str:
    """Narrow a query to runs that were started from `begin` on and before `end`."""
    return f"{query} AND StartTime >= '{rfc3339(begin)}' AND StartTime < '{rfc3339(end)}'"


def _whole(when: datetime) -> datetime:
    """Cut to milliseconds, as times are written."""
    return when.replace(microsecond=when.microsecond // 1000 * 1000)


async def _found(run: WorkflowExecution) -> Found:
    attributes = run.typed_search_attributes
    return Found(
        workflow_id=run.id,
        run_number=attributes.get(ids.RUN_NUMBER, 1),
        is_open=run.status == WorkflowExecutionStatus.RUNNING,
        started_at=run.start_time,
        accepted_at=await run.memo_value("accepted_at", default=run.start_time, type_hint=datetime),
        status=run.status,
        needs_attention=tuple(attributes.get(ids.NEEDS_ATTENTION, ())),
    )
