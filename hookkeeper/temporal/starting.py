"""Start the run of an event: one run for at most a hundred targets, one with parts for more."""

from temporalio.client import Client
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from hookkeeper import ids
from hookkeeper.messages.event import EventInput
from hookkeeper.partition import PART
from hookkeeper.search_attributes import search_attributes


async def start(
    client: Client,
    task_queue: str,
    event: EventInput,
    digest: str,
    reuse: WorkflowIDReusePolicy,
    run_number: int = 1,
) -> str:
    """Give the run's id, once Temporal has it; raise `WorkflowAlreadyStartedError` where `reuse` says so."""
    handle = await client.start_workflow(
        ids.LARGE_EVENT if len(event.deliveries) > PART else ids.EVENT,
        event,
        id=ids.workflow_id(event.tenant, event.id),
        task_queue=task_queue,
        id_reuse_policy=reuse,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        memo={"digest": digest, "accepted_at": event.accepted_at},
        search_attributes=search_attributes(event, run_number),
        static_summary=f"{event.type} · {event.tenant}",
        priority=Priority(fairness_key=event.tenant),
    )
    assert handle.result_run_id is not None
    return handle.result_run_id
