"""Start the run of an event: the first one, and a further one for a redelivery.

An event of a shared run that is redelivered has its first run of its own, with the number 2.
"""

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from hookkeeper import ids, temporal_names
from hookkeeper.command_rules import Command
from hookkeeper.commands import Refused, reopen
from hookkeeper.messages.event import EventInput
from hookkeeper.partition import parts_of
from hookkeeper.search_attributes import memo, run_summary, search_attributes
from hookkeeper.temporal.events import own_runs
from hookkeeper.temporal.events.own_runs import EventSnapshot
from hookkeeper.temporal.events.run_state import accepted_at_of, find_run
from hookkeeper.temporal.events.shared_runs import InSharedRun
from hookkeeper.times import utc_now

OTHER_IS_OPEN = "an earlier event with this id is still open: deliver this one again once that one is over"


async def start_run(
    client: Client,
    task_queue: str,
    event: EventInput,
    run_number: int = 1,
    *,
    is_first: bool = True,
    part: int = 1,
    apart: bool = False,
) -> str:
    """Start a run, and return its id once Temporal has stored it.

    `is_first`: the event has had no run of its own, or none of this part of its deliveries. `apart`: an earlier event
    has its id. Raises
    `WorkflowAlreadyStartedError` if a run is open, or, with `is_first`, if there ever was one.
    """
    handle = await client.start_workflow(
        temporal_names.EVENT,
        event,
        id=(
            ids.run_apart(event.tenant, event.id, event.accepted_at)
            if apart
            else ids.run_of(event.tenant, event.id, part)
        ),
        task_queue=task_queue,
        id_reuse_policy=(WorkflowIDReusePolicy.REJECT_DUPLICATE if is_first else WorkflowIDReusePolicy.ALLOW_DUPLICATE),
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        memo=memo(event, run_number),
        search_attributes=search_attributes(event, run_number),
        static_summary=run_summary(event, part),
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
    snapshot = await own_runs.read(client, description)
    event = reopened_event(snapshot, command, delivery)
    part = ids.part_of(description.id)
    latest = await find_run(client, description.id)
    if latest is None or latest.run_id != description.run_id:  # None: it was erased
        return False
    try:
        await start_run(client, task_queue, event, snapshot.run_number + 1, is_first=False, part=part)
    except WorkflowAlreadyStartedError:
        if description.id != ids.run_of(event.tenant, event.id, part):
            raise Refused(OTHER_IS_OPEN) from None
        return False
    return True


def reopened_event(snapshot: EventSnapshot, command: Command, delivery: str | None) -> EventInput:
    """Return what starts a run for the deliveries that `command` selects."""
    state = snapshot.state
    deliveries = reopen(command, state.deliveries, delivery)
    # An event that was cancelled before its `deliver_at` is delivered at once.
    deliver_at = min(state.deliver_at, utc_now()) if state.deliver_at else None
    parts = parts_of(snapshot.event)[0].parts
    return snapshot.event.model_copy(update={"deliveries": deliveries, "deliver_at": deliver_at, "parts": parts})


async def start_sibling(
    client: Client,
    task_queue: str,
    snapshot: EventSnapshot,
    part: int,
    command: Command,
    delivery: str | None,
) -> bool:
    """Start a sibling, which has no run, for the deliveries that `command` selects; False if it has one by now."""
    event = reopened_event(snapshot, command, delivery)
    try:
        await start_run(client, task_queue, event, run_number=2, is_first=False, part=part)
    except WorkflowAlreadyStartedError:
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
