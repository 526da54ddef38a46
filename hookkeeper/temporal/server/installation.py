"""The registry that a namespace belongs to: a run that never begins has the registry's id in its memo (decision 59).

With another registry, open deliveries would lose their webhooks, and the events in its rows would have no runs. Several
installations in one namespace have a task queue each, and so a run each.
"""

import asyncio
from datetime import timedelta
from uuid import uuid4

import structlog
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Memo, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids, temporal_names
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.registry.storage.database import RegistryUnavailable, RegistryUnprepared
from hookkeeper.temporal.server.connection import MAX_PAUSE, while_away
from hookkeeper.temporal.server.error_translation import TemporalIsNew, WrongRegistry
from hookkeeper.temporal.server.visibility import in_queue, quoted

NEVER = timedelta(days=36_500)
"""Until the run begins. So no worker needs its code, and no task of it waits."""
CONVERTER = DataConverter.default.payload_converter
RUN_TYPES = (temporal_names.EVENT, temporal_names.SHARED_RUN)
log = structlog.get_logger("hookkeeper.installation")


async def read(client: Client, task_queue: str) -> str | None:
    """Return the id of the registry that the namespace belongs to; None if none was joined. Raises `RPCError`."""
    request = DescribeWorkflowExecutionRequest(
        namespace=client.namespace, execution=WorkflowExecution(workflow_id=ids.installation_id(task_queue))
    )
    try:
        run = await client.workflow_service.describe_workflow_execution(request)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return None
    owner: str = CONVERTER.from_payload(run.workflow_execution_info.memo.fields[temporal_names.REGISTRY])
    return owner


async def join(client: Client, task_queue: str, rows: EventRows, *, replace: bool = False) -> None:
    """Let the namespace belong to the registry with these rows, unless it belongs to one. `replace`: in place of that
    one.

    The id is not encrypted: it has to be readable whatever the keys are. Raises `RPCError` and RegistryUnavailable.
    """
    if (here := await rows.installation()) is None:
        raise RegistryUnprepared("the registry has no tables yet: run `hookkeeper migrate`")
    conflict = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
    if replace:
        conflict = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    delay = Duration()
    delay.FromTimedelta(NEVER)
    await client.workflow_service.start_workflow_execution(
        StartWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_id=ids.installation_id(task_queue),
            workflow_type=WorkflowType(name=temporal_names.INSTALLATION),
            task_queue=TaskQueue(name=ids.installation_id(task_queue)),
            memo=Memo(fields={temporal_names.REGISTRY: CONVERTER.to_payload(here.id)}),
            workflow_start_delay=delay,
            workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
            workflow_id_conflict_policy=conflict,
            identity=client.identity,
            request_id=str(uuid4()),
        )
    )
    await rows.keep_namespace(client.namespace)


async def check(client: Client, task_queue: str, rows: EventRows) -> None:
    """Raise WrongRegistry if the namespace belongs to another registry, or the registry to another namespace, and
    TemporalIsNew if only the registry knows that the two belong to each other.

    Raises RegistryUnavailable and `RPCError`.
    """
    here, owner = await rows.installation(), await read(client, task_queue)
    id_, namespace = (here.id, here.namespace) if here else (None, None)
    if owner not in (None, id_) or namespace not in (None, client.namespace):
        raise WrongRegistry(client.namespace, task_queue)
    if owner is None and namespace is not None:
        raise TemporalIsNew(client.namespace, task_queue)


async def until_checked(client: Client, task_queue: str, rows: EventRows) -> None:
    """Check as soon as Temporal and the registry answer. Raises WrongRegistry, and `RPCError` if it is refused."""
    pause = 0.1
    while True:
        try:
            return await while_away(lambda: check(client, task_queue, rows))
        except RegistryUnavailable as error:
            log.warning("waiting for the registry", reason=str(error), retry_in=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, MAX_PAUSE)


async def has_open_events(client: Client, task_queue: str) -> bool:
    """Return whether events are being delivered. Raises `RPCError`."""
    types = ", ".join(map(quoted, RUN_TYPES))
    query = f"ExecutionStatus = 'Running' AND {in_queue(task_queue)} AND WorkflowType IN ({types})"
    request = CountWorkflowExecutionsRequest(namespace=client.namespace, query=query)
    try:
        return (await client.workflow_service.count_workflow_executions(request)).count > 0
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:  # the namespace is yet to be made
            raise
        return False
