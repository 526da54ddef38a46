"""Work of `hookkeeper worker --local`, as in `dev`: this machine has all workers of the namespace.

So no other process prepares the namespace, and activities of worker processes that have ended are retried before
Temporal's timeouts find that out. Elsewhere, a process that is not here may still be alive.
"""

import asyncio
import os
import socket
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import structlog
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import RespondActivityTaskFailedByIdRequest
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper.asyncio_tasks import in_background
from hookkeeper.temporal.events.run_state import handle_of
from hookkeeper.temporal.server import namespace
from hookkeeper.temporal.server.visibility import read_all

log = structlog.get_logger("hookkeeper.worker")
NAMESPACE_TIMEOUT, POLL_INTERVAL = 30.0, 0.05
"""Seconds in which a server that starts has to have its namespace, and between two tries."""
MAX_RUNS = 500
"""The newest open runs. Activities of others are retried after their heartbeat timeout."""
LOOKS, INTERVAL = 2, 1.0
"""Temporal's lists lag behind: the second look finds runs that started just before their worker ended."""
REASON = "the worker process has ended"
RETRY_DELAY = timedelta(milliseconds=100)


async def prepare(client: Client, retention: timedelta) -> None:
    """Prepare the namespace as soon as the server answers and has created it.

    Raises `NamespaceNotReady` and `RPCError`.
    """
    deadline = asyncio.get_running_loop().time() + NAMESPACE_TIMEOUT
    while True:
        try:
            return await namespace.prepare(client, retention)
        except RPCError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(POLL_INTERVAL)


def retrying_lost_activities(client: Client) -> AbstractAsyncContextManager[None]:
    """Retry the activities of ended workers in the background."""
    return in_background(_retry_lost_activities(client), "retry lost activities")


async def _retry_lost_activities(client: Client) -> None:
    try:
        if found := await retry_lost_activities(client):
            log.info("activities of ended workers are retried", activities=found)
    except RPCError as error:
        log.warning("activities of ended workers are retried after their timeouts", error=error.message)


async def retry_lost_activities(client: Client) -> int:
    """Let the activities of ended processes fail, so that Temporal retries them; return their number.

    Their heartbeat details remain. Raises Temporal's `RPCError`.
    """
    seen: set[str] = set()
    found = 0
    for look in range(LOOKS):
        await asyncio.sleep(look and INTERVAL)
        runs = [run async for run in client.list_workflows("ExecutionStatus = 'Running'", limit=MAX_RUNS)]
        new = [run for run in runs if run.run_id not in seen]
        found += sum(await read_all(new, lambda run: _retry_lost(client, run)))
        seen.update(run.run_id for run in new)
    return found


def has_ended(identity: str) -> bool:
    """Return whether `pid@host`, the identity that the SDK gives a worker, is a process of this machine that has
    ended. Another process may have its number by now: then the answer is False.
    """
    pid, _, host = identity.partition("@")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return _is_zombie(pid)


def _is_zombie(pid: str) -> bool:
    """Return whether a process has ended, which its parent has not noticed yet; False where there is no `/proc`.

    The first process of a machine may take seconds to notice, that of a container may never do it.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"


async def _retry_lost(client: Client, run: WorkflowExecution) -> int:
    """Let the lost activities of a run fail; return their number."""
    try:
        lost = [*filter(_is_lost, (await handle_of(client, run).describe()).raw_description.pending_activities)]
        for activity in lost:
            await client.workflow_service.respond_activity_task_failed_by_id(
                RespondActivityTaskFailedByIdRequest(
                    namespace=client.namespace,
                    workflow_id=run.id,
                    run_id=run.run_id,
                    activity_id=activity.activity_id,
                    failure=_failure(),
                    identity=client.identity,
                )
            )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended meanwhile
            raise
        return 0
    return len(lost)


def _is_lost(activity: PendingActivityInfo) -> bool:
    is_started = activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    return is_started and has_ended(activity.last_worker_identity)


def _failure() -> Failure:
    delay = Duration()
    delay.FromTimedelta(RETRY_DELAY)
    return Failure(
        message=REASON,
        source="hookkeeper",
        application_failure_info=ApplicationFailureInfo(type="WorkerEnded", next_retry_delay=delay),
    )
