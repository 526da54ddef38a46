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
from hookkeeper.messages.partition import parts_of
from hookkeeper.registry.events.rows import EventSnapshot
from hookkeeper.search_attributes import memo, run_summary, search_attributes
from hookkeeper.temporal.events.run_state import accepted_at_of, find_run, number_of
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
        request_eager_start=True,
    )
    assert handle.result_run_id is not None
    return handle.result_run_id


async def start_again(
    client: Client, task_queue: str, event: EventInput, part: int, run: WorkflowExecutionDescription | None
) -> str | None:
    """Start a further run, and return its id; None if another request has just started one, or the event was erased.

    `run`: the closed run that had these deliveries, if Temporal has it. Temporal refuses the start only while another
    run is open. If that has closed by now, what was read lacks its attempts. So the latest run is looked up once more,
    right before the start. Raises `Refused` while an earlier event with the id is open.
    """
    own_id = ids.run_of(event.tenant, event.id, part)
    latest, number = await find_run(client, own_id), 2
    if run is not None and not ids.is_shared_run(run.id):
        newest = latest if run.id == own_id else await find_run(client, run.id)
        if newest is None or newest.run_id != run.run_id:
            return None
        number = await number_of(run) + 1
    elif latest is not None:
        if await accepted_at_of(latest) >= event.accepted_at:
            return None
        if latest.status == WorkflowExecutionStatus.RUNNING:
            raise Refused(OTHER_IS_OPEN)
    try:
        return await start_run(client, task_queue, event, number, is_first=latest is None, part=part)
    except WorkflowAlreadyStartedError:
        if run is not None and run.id != own_id and not ids.is_shared_run(run.id):
            raise Refused(OTHER_IS_OPEN) from None
        return None


def reopened_event(snapshot: EventSnapshot, command: Command, delivery: str | None) -> EventInput:
    """Return what starts a run for the deliveries that `command` selects."""
    state = snapshot.state
    deliveries = reopen(command, state.deliveries, delivery)
    # An event that was cancelled before its `deliver_at` is delivered at once.
    deliver_at = min(state.deliver_at, utc_now()) if state.deliver_at else None
    parts = parts_of(snapshot.event)[0].parts
    return snapshot.event.model_copy(update={"deliveries": deliveries, "deliver_at": deliver_at, "parts": parts})
