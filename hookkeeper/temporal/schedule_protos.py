"""A plan as Temporal's schedule, and back. The data of the event is a payload there: encrypted where payloads are.

Temporal turns cron into a form of its own, so that what people wrote is read back from the plan, which is the input of
what the schedule starts. A schedule's memo would be nearer, but cannot be changed (server 1.32).
"""

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payloads, SearchAttributes, WorkflowType
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
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
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.converter import encode_search_attributes

from hookkeeper import ids
from hookkeeper.messages.schedule import OverlapPolicy, SchedulePlan

OVERLAPS: dict[OverlapPolicy, ScheduleOverlapPolicy.ValueType] = {
    "skip": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_SKIP,
    "buffer_one": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE,
    "buffer_all": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL,
    "cancel_other": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER,
    "allow_all": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL,
}


async def schedule_of(client: Client, plan: SchedulePlan, task_queue: str, state: ScheduleState) -> Schedule:
    """Write a plan as Temporal's schedule."""
    spec = ScheduleSpec(cron_string=plan.cron, timezone_name=plan.timezone, jitter=seconds(plan.jitter))
    if plan.every:
        spec.interval.append(IntervalSpec(interval=seconds(plan.every), phase=seconds(plan.offset)))
    if plan.start_at:
        spec.start_time.CopyFrom(timestamp(plan.start_at))
    if plan.end_at:
        spec.end_time.CopyFrom(timestamp(plan.end_at))
    policies = SchedulePolicies(overlap_policy=OVERLAPS[plan.overlap], catchup_window=seconds(plan.catchup_window))
    return Schedule(spec=spec, action=await _action(client, plan, task_queue), policies=policies, state=state)


async def plan_of(client: Client, schedule: Schedule) -> SchedulePlan:
    """Read the plan back."""
    (plan,) = await client.data_converter.decode(schedule.action.start_workflow.input.payloads, [SchedulePlan])
    assert isinstance(plan, SchedulePlan)
    return plan


def search_attributes(plan: SchedulePlan) -> SearchAttributes:
    """Give what a schedule, and what it starts, are found by."""
    pairs = [SearchAttributePair(ids.TENANT, plan.tenant), SearchAttributePair(ids.EVENT_TYPE, plan.type)]
    encoded = SearchAttributes()
    encode_search_attributes(TypedSearchAttributes(pairs), encoded)
    return encoded


def timestamp(when: datetime) -> Timestamp:
    written = Timestamp()
    written.FromDatetime(when)
    return written


def seconds(count: int) -> Duration:
    written = Duration()
    written.FromTimedelta(timedelta(seconds=count))
    return written


async def _action(client: Client, plan: SchedulePlan, task_queue: str) -> ScheduleAction:
    plan_payload, summary = await client.data_converter.encode([plan, f"{plan.type} · {plan.tenant}"])
    return ScheduleAction(
        start_workflow=NewWorkflowExecutionInfo(
            workflow_id=ids.firing_id(plan.tenant, plan.id),
            workflow_type=WorkflowType(name=ids.SCHEDULED),
            task_queue=TaskQueue(name=task_queue),
            input=Payloads(payloads=[plan_payload]),
            search_attributes=search_attributes(plan),
            user_metadata=UserMetadata(summary=summary),
        )
    )
