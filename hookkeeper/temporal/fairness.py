"""Test whether fairness works on this Temporal server, and in this namespace, with two keys on a queue of its own.

Key `a` has a backlog when tasks of key `b` are added. With fairness, those of `b` are handed out next; without, after
those of `a`. The first task of `b` proves nothing: a server hands a new task directly to a waiting poll, past the
backlog, and a busy server does so several times. The tasks after it are counted.

The test makes plain calls instead of running a worker, and deletes its run afterwards, so no worker needs its code.
"""

import asyncio
import uuid
from contextlib import suppress
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import Command, ScheduleActivityTaskCommandAttributes
from temporalio.api.common.v1 import ActivityType, Priority, WorkflowExecution
from temporalio.api.enums.v1 import CommandType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from hookkeeper import temporal_names

IDENTITY = "hookkeeper-fairness-check"
CHECK_TIMEOUT = 15.0
"""Seconds for the whole test; it takes about one with fairness, and five without."""
CALL_TIMEOUT = timedelta(seconds=5)
BACKLOG, BEFORE_B, OF_B = 120, 8, 20
"""Tasks of `a`; how many of them are taken before those of `b` are added; tasks of `b`."""
MAX_TASKS_BEFORE_B = 16
"""Tasks taken until the first one of `b`. Without fairness, usually all of them are of `a`."""
MAX_PAUSE = 0.4
"""Seconds between two of them: tasks of `b` need a moment to reach the queue."""
COUNTED, MIN_OF_B = 10, 4
"""Tasks taken after the first one of `b`, and how many of them must be of `b`: half are with fairness, none without."""


async def is_fair(client: Client) -> bool | None:
    """Return whether tasks of a key are handed out past the backlog of another; None if the test failed."""
    run = f"fairness-check-{uuid.uuid4().hex}"
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            return await _check(client, run)
    except (RPCError, TimeoutError):
        return None
    finally:
        with suppress(RPCError):
            await _delete(client, run)


async def _check(client: Client, run: str) -> bool:
    await client.start_workflow(temporal_names.FAIRNESS_CHECK, id=run, task_queue=run, run_timeout=timedelta(minutes=1))
    await _schedule(client, run, "a", BACKLOG, more=True)
    for _ in range(BEFORE_B):
        await _take(client, run)
    await _schedule(client, run, "b", OF_B, more=False)
    for n in range(MAX_TASKS_BEFORE_B):
        key = await _take(client, run)
        await asyncio.sleep(MAX_PAUSE if key == "b" else min(0.05 * n, MAX_PAUSE))
        if key == "b":
            return [await _take(client, run) for _ in range(COUNTED)].count("b") >= MIN_OF_B
    return False


async def _schedule(client: Client, run: str, key: str, count: int, *, more: bool) -> None:
    """Complete the run's workflow task with activities of this key; `more` requests a further workflow task."""
    task = await client.workflow_service.poll_workflow_task_queue(
        PollWorkflowTaskQueueRequest(namespace=client.namespace, task_queue=TaskQueue(name=run), identity=IDENTITY),
        timeout=CALL_TIMEOUT,
    )
    await client.workflow_service.respond_workflow_task_completed(
        RespondWorkflowTaskCompletedRequest(
            namespace=client.namespace,
            task_token=task.task_token,
            identity=IDENTITY,
            commands=[_activity(run, key, number) for number in range(count)],
            force_create_new_workflow_task=more,
        )
    )


def _activity(run: str, key: str, number: int) -> Command:
    activity = ScheduleActivityTaskCommandAttributes(
        activity_id=f"{key}{number}",
        activity_type=ActivityType(name=key),
        task_queue=TaskQueue(name=run),
        schedule_to_close_timeout=Duration(seconds=60),
        start_to_close_timeout=Duration(seconds=60),
        priority=Priority(fairness_key=key),
    )
    return Command(
        command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
        schedule_activity_task_command_attributes=activity,
    )


async def _take(client: Client, run: str) -> str:
    """Take the next activity from the queue, and return its key."""
    task = await client.workflow_service.poll_activity_task_queue(
        PollActivityTaskQueueRequest(namespace=client.namespace, task_queue=TaskQueue(name=run), identity=IDENTITY),
        timeout=CALL_TIMEOUT,
    )
    return task.activity_type.name


async def _delete(client: Client, run: str) -> None:
    """Terminate and delete the run."""
    await client.get_workflow_handle(run).terminate("checked")
    await client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=run)
        )
    )
