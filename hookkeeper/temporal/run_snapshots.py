"""Read the state of a run of an event, and the time of the report that contains it.

A run that closed by itself is read from its history. An open or terminated run is queried, which needs a worker.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import ValidationError
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper.crypto.keyring import CipherError
from hookkeeper.messages.event import EventInput, EventState
from hookkeeper.partition import parts_of
from hookkeeper.temporal.run_state import cut_short, handle_of, input_of, state_of, unstarted_state
from hookkeeper.temporal.task_times import CLOSED_BY_THEMSELVES, latest_task_time

QUERY_TIMEOUT = 10.0
"""Seconds in which a worker has to answer."""


class Unreadable(Exception):
    """The run cannot be read at the moment: no worker answers, or it cannot be decoded."""


class Snapshot(NamedTuple):
    """The state of a run, and the time of the report that contains it."""

    state: EventState
    as_of: datetime
    finished_at: datetime | None


@contextmanager
def raising_unreadable() -> Iterator[None]:
    """Raise `Unreadable` for errors that concern one run only."""
    try:
        yield
    except (CipherError, ValidationError, WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        raise Unreadable(str(error)) from error
    except RPCError as error:
        if error.status != RPCStatusCode.FAILED_PRECONDITION:
            raise
        raise Unreadable(error.message) from error  # a query, and no worker to answer it


@asynccontextmanager
async def query_timeout() -> AsyncIterator[None]:
    """Raise `Unreadable` if no worker answers in time."""
    try:
        async with asyncio.timeout(QUERY_TIMEOUT):
            yield
    except TimeoutError:
        raise Unreadable("no worker answers") from None


async def read_snapshot(client: Client, run: WorkflowExecutionDescription) -> Snapshot:
    """Read the run of an event with its deliveries."""
    handle = handle_of(client, run)
    if run.status in CLOSED_BY_THEMSELVES:
        state = await state_of(client, handle, run.status)
        finished_at = state.finished_at or run.close_time
        return Snapshot(state, finished_at or run.start_time, finished_at)
    last_task = await latest_task_time(client, run)
    if last_task is None:
        state = unstarted_state(parts_of(await input_of(client, handle, EventInput))[0])
        return _unstarted(state, run)
    state = await _queried_state(client, handle, run.status)
    finished_at = state.finished_at or run.close_time
    return Snapshot(state, finished_at or last_task, finished_at)


def _unstarted(state: EventState, run: WorkflowExecutionDescription) -> Snapshot:
    if run.close_time:
        return Snapshot(cut_short(state), run.close_time, run.close_time)
    return Snapshot(state, run.start_time, None)


async def _queried_state(
    client: Client, handle: WorkflowHandle[Any, Any], status: WorkflowExecutionStatus | None
) -> EventState:
    try:
        async with query_timeout():
            return await state_of(client, handle, status)
    except RPCError as error:
        raise Unreadable(str(error) or "no worker answers") from error
