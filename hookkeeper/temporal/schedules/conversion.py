"""Convert schedules: a plan to Temporal's schedule, and Temporal's description to times and firings.

Temporal rewrites cron expressions, so a plan is compared with the input of the workflow that the schedule starts. A
schedule's memo would be more direct, but cannot be changed (server 1.32). The event's data is a payload, and encrypted
if payloads are.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payloads, Priority, SearchAttributes, WorkflowType
from temporalio.api.enums.v1 import ScheduleOverlapPolicy as OverlapPolicyEnum
from temporalio.api.schedule.v1 import (
    IntervalSpec,
    Schedule,
    ScheduleAction,
    SchedulePolicies,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleDescription,
    ScheduleOverlapPolicy,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.converter import encode_search_attributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids, temporal_names
from hookkeeper.messages.schedule import OverlapPolicy, SchedulePlan, ScheduleSettings
from hookkeeper.registry.schedules import Schedule as Row
from hookkeeper.search_attributes import EVENT_TYPE_KEY, TENANT_KEY

FiringStatus = Literal["running", "done", "refused", "cancelled"]
FIRING_STATUSES: dict[WorkflowExecutionStatus | None, FiringStatus] = {
    WorkflowExecutionStatus.COMPLETED: "done",
    WorkflowExecutionStatus.FAILED: "refused",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "cancelled",
    WorkflowExecutionStatus.TIMED_OUT: "cancelled",
}


@dataclass(frozen=True, slots=True)
class FiringRun:
    """The run of one firing."""

    time: datetime
    """The time of the schedule that it is for."""
    started_at: datetime
    status: FiringStatus
    event_id: str
    reason: str | None
    """Why its event was refused."""
    workflow_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class ScheduleSnapshot:
    """A schedule, as its row says; None is what Temporal has not told."""

    plan: SchedulePlan
    paused: bool
    note: str
    next: tuple[datetime, ...] | None
    """Its next times, ten at most."""
    skipped: int | None
    """Times without an event because the previous one was still being delivered."""
    missed: int | None
    """Times without an event because Temporal was down for longer than the catch-up window."""
    created_at: datetime
    updated_at: datetime | None
    firings: tuple[FiringRun, ...] | None = ()
    """The latest first, ten at most; empty unless requested."""


# To Temporal


async def schedule_of(client: Client, plan: SchedulePlan, task_queue: str, state: ScheduleState) -> Schedule:
    """Convert a plan to Temporal's schedule."""
    spec = ScheduleSpec(cron_string=plan.cron, timezone_name=plan.timezone, jitter=_seconds(plan.jitter))
    if plan.every:
        spec.interval.append(IntervalSpec(interval=_seconds(plan.every), phase=_seconds(plan.offset)))
    if plan.start_at:
        spec.start_time.CopyFrom(timestamp(plan.start_at))
    if plan.end_at:
        spec.end_time.CopyFrom(timestamp(plan.end_at))
    overlap = OverlapPolicyEnum.ValueType(overlap_policy(plan.overlap))
    policies = SchedulePolicies(overlap_policy=overlap, catchup_window=_seconds(plan.catchup_window))
    return Schedule(spec=spec, action=await _action(client, plan, task_queue), policies=policies, state=state)


def overlap_policy(overlap: OverlapPolicy) -> ScheduleOverlapPolicy:
    """Convert an overlap policy; Temporal has the same names."""
    return ScheduleOverlapPolicy[overlap.upper()]


def search_attributes(plan: SchedulePlan) -> SearchAttributes:
    """Return the search attributes of a schedule, and of what it starts."""
    pairs = [SearchAttributePair(TENANT_KEY, plan.tenant), SearchAttributePair(EVENT_TYPE_KEY, plan.type)]
    encoded = SearchAttributes()
    encode_search_attributes(TypedSearchAttributes(pairs), encoded)
    return encoded


def timestamp(when: datetime) -> Timestamp:
    converted = Timestamp()
    converted.FromDatetime(when)
    return converted


def _seconds(count: int) -> Duration:
    converted = Duration()
    converted.FromTimedelta(timedelta(seconds=count))
    return converted


async def _action(client: Client, plan: SchedulePlan, task_queue: str) -> ScheduleAction:
    plan_payload, summary = await client.data_converter.encode([plan, f"{plan.type} · {plan.tenant}"])
    return ScheduleAction(
        start_workflow=NewWorkflowExecutionInfo(
            workflow_id=ids.firing_id(plan.tenant, plan.id),
            workflow_type=WorkflowType(name=temporal_names.SCHEDULED),
            task_queue=TaskQueue(name=task_queue),
            priority=Priority(fairness_key=plan.tenant),
            input=Payloads(payloads=[plan_payload]),
            search_attributes=search_attributes(plan),
            user_metadata=UserMetadata(summary=summary),
        )
    )


# From Temporal


async def settings_of(client: Client, described: ScheduleDescription) -> ScheduleSettings:
    """Return what Temporal's schedule was made of."""
    payloads = described.raw_description.schedule.action.start_workflow.input.payloads
    (plan,) = await client.data_converter.decode(payloads, [SchedulePlan])
    assert isinstance(plan, SchedulePlan)
    return ScheduleSettings(plan, described.schedule.state.paused, described.schedule.state.note or "")


def snapshot_of(
    row: Row, described: ScheduleDescription | None, firings: tuple[FiringRun, ...] = ()
) -> ScheduleSnapshot:
    """Return a schedule with what Temporal's description adds."""
    assert row.plan is not None
    info, raw = (described.info, described.raw_description.info) if described else (None, None)
    return ScheduleSnapshot(
        plan=row.plan,
        paused=row.paused,
        note=row.note,
        next=tuple(info.next_action_times) if info else None,
        skipped=info.num_actions_skipped_overlap + raw.buffer_dropped if info and raw else None,
        missed=info.num_actions_missed_catchup_window if info else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
        firings=firings if info else None,
    )


async def firings_of(client: Client, described: ScheduleDescription) -> tuple[FiringRun, ...]:
    """Read the latest firings, the latest first; those that Temporal has deleted are left out."""
    _, schedule = ids.schedule_of(described.id)
    actions = reversed(described.info.recent_actions)
    firings = await asyncio.gather(*(_firing(client, schedule, action) for action in actions))
    return tuple(firing for firing in firings if firing)


async def _firing(client: Client, schedule: str, result: ScheduleActionResult) -> FiringRun | None:
    assert isinstance(result.action, ScheduleActionExecutionStartWorkflow)
    workflow_id, run_id = result.action.workflow_id, result.action.first_execution_run_id
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
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
    time = ids.fired_for(workflow_id)
    return FiringRun(
        time=time,
        started_at=result.started_at,
        status=FIRING_STATUSES.get(status, "running"),
        event_id=ids.scheduled_event_id(schedule, time),
        reason=reason,
        workflow_id=workflow_id,
        run_id=run_id,
    )
