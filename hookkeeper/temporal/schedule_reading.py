"""How a schedule stands: its plan, its next times, and what came of the latest."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.messages.schedule import SchedulePlan
from hookkeeper.temporal.schedule_protos import plan_of

FiringStatus = Literal["running", "done", "refused", "cancelled"]
STATUSES: dict[WorkflowExecutionStatus, FiringStatus] = {
    WorkflowExecutionStatus.COMPLETED: "done",
    WorkflowExecutionStatus.FAILED: "refused",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "cancelled",
    WorkflowExecutionStatus.TIMED_OUT: "cancelled",
}


@dataclass(frozen=True, slots=True)
class FiringRun:
    """What came of one firing."""

    time: datetime
    """The time that it stands for."""
    started_at: datetime
    status: FiringStatus
    event_id: str
    reason: str | None
    """Why its event was refused."""
    workflow_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Known:
    """A schedule as it stands."""

    plan: SchedulePlan
    paused: bool
    note: str
    next: tuple[datetime, ...]
    """Its next times, ten at most."""
    skipped: int
    """Times that passed without an event, because another was still being delivered."""
    missed: int
    """Times that passed while Temporal was away for longer than the catch-up window."""
    created_at: datetime
    updated_at: datetime | None
    firings: tuple[FiringRun, ...] = ()
    """The latest first, ten at most; none where nobody asked for them."""


async def known_of(client: Client, described: ScheduleDescription, firings: tuple[FiringRun, ...] = ()) -> Known:
    """Say in our words what Temporal has described."""
    info, state = described.info, described.schedule.state
    return Known(
        plan=await plan_of(client, described.raw_description.schedule),
        paused=state.paused,
        note=state.note or "",
        next=tuple(info.next_action_times),
        skipped=info.num_actions_skipped_overlap + described.raw_description.info.buffer_dropped,
        missed=info.num_actions_missed_catchup_window,
        created_at=info.created_at,
        updated_at=info.last_updated_at,
        firings=firings,
    )


async def firings_of(client: Client, described: ScheduleDescription) -> tuple[FiringRun, ...]:
    """Look what came of the latest firings, the latest first; those that Temporal no longer knows are left out."""
    _, schedule = ids.schedule_of(described.id)
    found = await asyncio.gather(*(_firing(client, schedule, each) for each in reversed(described.info.recent_actions)))
    return tuple(each for each in found if each)


async def _firing(client: Client, schedule: str, result: ScheduleActionResult) -> FiringRun | None:
    assert isinstance(result.action, ScheduleActionExecutionStartWorkflow)
    name, run_id = result.action.workflow_id, result.action.first_execution_run_id
    handle = client.get_workflow_handle(name, run_id=run_id)
    reason = None
    try:
        status = (await handle.describe()).status
        if status == WorkflowExecutionStatus.FAILED:
            await handle.result()
    except WorkflowFailureError as failure:
        reason = failure.cause.message if isinstance(failure.cause, ApplicationError) else str(failure.cause)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return None
    time = ids.fired_for(name)
    return FiringRun(
        time=time,
        started_at=result.started_at,
        status=STATUSES.get(status, "running") if status else "running",
        event_id=ids.scheduled_event_id(schedule, time),
        reason=reason,
        workflow_id=name,
        run_id=run_id,
    )
