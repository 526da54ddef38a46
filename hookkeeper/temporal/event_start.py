"""Start the run of an event: the first one, and a further one for a redelivery.

An event of a shared run that is redelivered has its first run of its own, with the number 2.
"""

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from hookkeeper import temporal_names
from hookkeeper.command_rules import Command
from hookkeeper.commands import Refused, reopen
from hookkeeper.messages.event import EventInput
from hookkeeper.partition import PART
from hookkeeper.search_attributes import memo, run_summary, search_attributes
from hookkeeper.temporal import event_read
from hookkeeper.temporal.run_state import accepted_at_of, find_run
from hookkeeper.temporal.shared_runs import InSharedRun
from hookkeeper.times import utc_now

OTHER_IS_OPEN = "an earlier event with this id is still open: deliver this one again once that one is over"


async def start_run(
    client: Client, task_queue: str, event: EventInput, run_number: int = 1, *, is_first: bool = True
) -> str:
    """Start a run, and return its id once Temporal has stored it. An event with more than a hundred deliveries gets a
    run with parts.

    `is_first`: the event has had no run of its own. Raises `WorkflowAlreadyStartedError` if a run is open, or, with
    `is_first`, if there ever was one.
    """
    handle = await client.start_workflow(
        temporal_names.LARGE_EVENT if len(event.deliveries) > PART else temporal_names.EVENT,
        event,
        id=event.workflow_id,
        task_queue=task_queue,
        id_reuse_policy=(WorkflowIDReusePolicy.REJECT_DUPLICATE if is_first else WorkflowIDReusePolicy.ALLOW_DUPLICATE),
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        memo=memo(event, run_number),
        search_attributes=search_attributes(event, run_number),
        static_summary=run_summary(event),
        priority=Priority(fairness_key=event.tenant),
    )
    assert handle.result_run_id is not None
    return handle.result_run_id


async def start_again(
    client: Client,
    task_queue: str,
    description: WorkflowExecutionDescription,
    command: Command,
    delivery: str | None,
) -> bool:
    """Start a further run for the deliveries that `command` selects; False if another request just started one.

    Temporal refuses the start only while that run is open. If it has closed by now, what was read here lacks its
    attempts. So the latest run is looked up once more, right before the start. Raises `Refused` while an earlier event
    with the id is open.
    """
    snapshot = await event_read.read(client, description)
    deliveries = reopen(command, snapshot.state.deliveries, delivery)
    # An event that was cancelled before its `deliver_at` is delivered at once.
    deliver_at = min(snapshot.state.deliver_at, utc_now()) if snapshot.state.deliver_at else None
    event = snapshot.event.model_copy(update={"deliveries": deliveries, "deliver_at": deliver_at})
    latest = await find_run(client, description.id)
    if latest is None or latest.run_id != description.run_id:  # None: it was erased
        return False
    try:
        await start_run(client, task_queue, event, snapshot.run_number + 1, is_first=False)
    except WorkflowAlreadyStartedError:
        if description.id != event.workflow_id:
            raise Refused(OTHER_IS_OPEN) from None
        return False
    return True


async def start_after_shared_run(
    client: Client, task_queue: str, found: InSharedRun, command: Command, delivery: str | None
) -> bool:
    """Start a run for the deliveries that `command` selects, of an event that a shared run has finished.

    False if it has a run of its own already. Raises `Refused` while an earlier event with its id is open.
    """
    event = found.event.model_copy(update={"deliveries": reopen(command, found.state.deliveries, delivery)})
    latest = await find_run(client, event.workflow_id)
    if latest is not None:
        if await accepted_at_of(latest) >= event.accepted_at:
            return False
        if latest.status == WorkflowExecutionStatus.RUNNING:
            raise Refused(OTHER_IS_OPEN)
    try:
        await start_run(client, task_queue, event, run_number=2, is_first=latest is None)
    except WorkflowAlreadyStartedError:
        return False
    return True
