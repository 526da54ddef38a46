"""The client of schedules: create, read, change, fire. They are stored in Temporal only.

Raises the errors of `hookkeeper.temporal.server.error_translation`, and `BadTimes`.
"""

import math
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from cachetools import TTLCache
from temporalio.api.enums.v1 import ScheduleOverlapPolicy as OverlapPolicyEnum
from temporalio.api.schedule.v1 import SchedulePatch, ScheduleState, TriggerImmediatelyRequest
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    ListScheduleMatchingTimesRequest,
    PatchScheduleRequest,
    UpdateScheduleRequest,
)
from temporalio.client import Client, ScheduleBackfill, ScheduleHandle
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids, metrics, temporal_names
from hookkeeper.limits import TenantLimit
from hookkeeper.messages.schedule import OverlapPolicy, SchedulePlan
from hookkeeper.temporal.schedules.conversion import (
    ScheduleSettings,
    ScheduleSnapshot,
    firings_of,
    overlap_policy,
    schedule_of,
    search_attributes,
    snapshot_of,
    timestamp,
)
from hookkeeper.temporal.server import visibility
from hookkeeper.temporal.server.error_translation import (
    Conflict,
    TooManySchedules,
    UnknownSchedule,
    not_found_suppressed,
    translated_errors,
)

RESOLUTION = timedelta(microseconds=1)
LIST_DELAY = 60.0
"""Seconds until Temporal's list has a new schedule, with a large margin."""
BAD_TIMES_PREFIX = "Invalid schedule spec: "
"""Begins Temporal's message about the times of a schedule."""
PAGE_SIZE = 50
"""Schedules per page when all schedules of a key are read."""
Change = Callable[[ScheduleSnapshot], ScheduleSettings]
"""Returns the new settings of a schedule."""


class BadTimes(Exception):
    """Temporal rejects the times of this plan, with a reason."""


class Schedules:
    """All schedules. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._creating = TenantLimit(per_tenant=1)
        self._created: TTLCache[str, bool] = TTLCache(maxsize=math.inf, ttl=LIST_DELAY)
        """The ids of new schedules, which Temporal's list may lack."""

    async def create(self, plan: SchedulePlan, paused: bool, note: str, at_most: int) -> ScheduleSnapshot:
        """Make a schedule; raise `Conflict` if the tenant has one with this id, and `TooManySchedules`.

        One at a time per tenant: two at once could both pass the check of the limit.
        """
        async with self._creating.slot(plan.tenant), _translated_errors():
            await self._check_limit(plan, at_most)
            state = ScheduleState(paused=paused, notes=note)
            request = CreateScheduleRequest(
                namespace=self._client.namespace,
                schedule_id=ids.schedule_id(plan.tenant, plan.id),
                schedule=await schedule_of(self._client, plan, self._task_queue, state),
                search_attributes=search_attributes(plan),
                identity=self._client.identity,
                request_id=uuid.uuid4().hex,
            )
            try:
                await self._client.workflow_service.create_schedule(request, retry=True)
            except RPCError as error:
                if error.status != RPCStatusCode.ALREADY_EXISTS:
                    raise
                raise Conflict(f"there is a schedule with id {plan.id} for tenant {plan.tenant}") from None
            self._created[request.schedule_id] = True
            return await snapshot_of(self._client, await self._handle(plan.tenant, plan.id).describe())

    async def _check_limit(self, plan: SchedulePlan, at_most: int) -> None:
        """Raise `TooManySchedules` if the tenant has `at_most`."""
        existing = await self._existing(plan.tenant, at_most)
        if len(existing) >= at_most and ids.schedule_id(plan.tenant, plan.id) not in existing:
            metrics.count_limit("schedules")
            raise TooManySchedules(f"tenant {plan.tenant} has {at_most} schedules, which is the maximum")

    async def count(self, tenant: str, at_most: int) -> int:
        """Return how many schedules a tenant has, up to one more than `at_most`."""
        async with _translated_errors():
            return len(await self._existing(tenant, at_most))

    async def _existing(self, tenant: str, at_most: int) -> set[str]:
        found = await self._client.list_schedules(_tenant_query(tenant), page_size=at_most + 1)
        await found.fetch_next_page()
        listed = {schedule.id for schedule in found.current_page or ()}
        return listed | {id_ for id_ in self._created if ids.schedule_of(id_)[0] == tenant}

    async def made_by(self, key_id: str, tenant: str | None) -> list[ScheduleSnapshot]:
        """Return the schedules that a key made, of its tenant; None is all tenants."""
        found: list[ScheduleSnapshot] = []
        cursor: str | None = None
        while True:
            page, cursor = await self.page(tenant, PAGE_SIZE, cursor)
            found += [schedule for schedule in page if schedule.plan.key_id == key_id]
            if cursor is None:
                return found

    async def read(self, tenant: str, schedule: str) -> ScheduleSnapshot:
        """Return a schedule with its latest firings."""
        async with _translated_errors():
            described = await self._handle(tenant, schedule).describe()
            return await snapshot_of(self._client, described, await firings_of(self._client, described))

    async def page(
        self, tenant: str | None, limit: int, cursor: str | None
    ) -> tuple[list[ScheduleSnapshot], str | None]:
        """Return one page, the newest first, and the cursor of the next; None is all tenants. Raises `BadCursor`.

        Each schedule is described: Temporal's list lags behind, and lacks the plan.
        """
        query = _tenant_query(tenant)
        async with _translated_errors():
            token = visibility.decode_cursor(query, cursor)
            found = await self._client.list_schedules(query, page_size=limit, next_page_token=token)
            await found.fetch_next_page()
            schedule_ids = [schedule.id for schedule in found.current_page or ()]
            schedules = await visibility.read_all(schedule_ids, self._snapshot_if_present)
            next_cursor = visibility.encode_cursor(query, found.next_page_token)
            return [schedule for schedule in schedules if schedule], next_cursor

    async def change(self, tenant: str, schedule: str, change: Change) -> bool:
        """Change a schedule; False if it is already as it should be.

        Temporal silently drops a change if the schedule was changed since it was read. So the result is read back, and
        the change is made again if necessary.
        """
        async with _translated_errors():
            while True:
                described = await self._handle(tenant, schedule).describe()
                known = await snapshot_of(self._client, described)
                settings = change(known)
                if known.settings == settings:
                    return False
                state = ScheduleState(paused=settings.paused, notes=settings.note)
                request = UpdateScheduleRequest(
                    namespace=self._client.namespace,
                    schedule_id=described.id,
                    schedule=await schedule_of(self._client, settings.plan, self._task_queue, state),
                    search_attributes=search_attributes(settings.plan),
                    conflict_token=described.raw_description.conflict_token,
                    identity=self._client.identity,
                    request_id=uuid.uuid4().hex,
                )
                await self._client.workflow_service.update_schedule(request, retry=True)
                changed = await snapshot_of(self._client, await self._handle(tenant, schedule).describe())
                if changed.settings == settings:
                    return True

    async def pause(self, tenant: str, schedule: str, note: str) -> None:
        """Stop firing until the schedule is resumed. The note is shown with it."""
        async with _translated_errors():
            await self._handle(tenant, schedule).pause(note=note)

    async def resume(self, tenant: str, schedule: str, note: str) -> None:
        """Fire again, from now on."""
        async with _translated_errors():
            await self._handle(tenant, schedule).unpause(note=note)

    async def trigger(self, tenant: str, schedule: str, when: datetime, overlap: OverlapPolicy) -> None:
        """Fire now for the time `when`, also while the schedule is paused. Once for each time: it is the request's id,
        so Temporal ignores a repeated request, which could otherwise cancel the first one's event.
        """
        policy = OverlapPolicyEnum.ValueType(overlap_policy(overlap))
        fire = TriggerImmediatelyRequest(overlap_policy=policy, scheduled_time=timestamp(when))
        request = PatchScheduleRequest(
            namespace=self._client.namespace,
            schedule_id=ids.schedule_id(tenant, schedule),
            patch=SchedulePatch(trigger_immediately=fire),
            identity=self._client.identity,
            request_id=f"trigger-{ids.scheduled_event_id(schedule, when)}",
        )
        async with _translated_errors():
            await self._client.workflow_service.patch_schedule(request, retry=True)

    async def times(self, tenant: str, schedule: str, since: datetime, until: datetime) -> list[datetime]:
        """Return the first thousand times from `since` on and before `until`."""
        async with _translated_errors():
            request = ListScheduleMatchingTimesRequest(
                namespace=self._client.namespace,
                schedule_id=ids.schedule_id(tenant, schedule),
                start_time=timestamp(since - RESOLUTION),  # exclusive here, inclusive in a backfill
                end_time=timestamp(until - RESOLUTION),
            )
            answer = await self._client.workflow_service.list_schedule_matching_times(request, retry=True)
            return [time.ToDatetime(since.tzinfo) for time in answer.start_time]

    async def backfill(
        self, tenant: str, schedule: str, since: datetime, until: datetime, overlap: OverlapPolicy
    ) -> None:
        """Fire for all times from `since` on and before `until`, about ten a second."""
        async with _translated_errors():
            period = ScheduleBackfill(start_at=since, end_at=until - RESOLUTION, overlap=overlap_policy(overlap))
            await self._handle(tenant, schedule).backfill(period)

    async def delete(self, tenant: str, schedule: str) -> None:
        """Delete a schedule. The events that it made are kept."""
        async with _translated_errors():
            await self._handle(tenant, schedule).delete()
            self._created.pop(ids.schedule_id(tenant, schedule), None)

    async def _snapshot_if_present(self, schedule_id: str) -> ScheduleSnapshot | None:
        """Return a schedule; None if it is deleted meanwhile, or that of another installation in the namespace."""
        with not_found_suppressed():
            described = await self._client.get_schedule_handle(schedule_id).describe()
            queue = described.raw_description.schedule.action.start_workflow.task_queue.name
            return await snapshot_of(self._client, described) if queue == self._task_queue else None
        return None

    def _handle(self, tenant: str, schedule: str) -> ScheduleHandle:
        return self._client.get_schedule_handle(ids.schedule_id(tenant, schedule))


def _tenant_query(tenant: str | None) -> str:
    """Write the query for the schedules of a tenant, or of all."""
    tenant_is = f"= '{tenant}'" if tenant else "IS NOT NULL"
    return f"ScheduleId STARTS_WITH '{ids.SCHEDULE_PREFIX}' AND {temporal_names.TENANT} {tenant_is}"


@asynccontextmanager
async def _translated_errors() -> AsyncIterator[None]:
    """Translate Temporal's errors, as `translated_errors` does, to those of schedules."""
    async with translated_errors():
        try:
            yield
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise UnknownSchedule("no such schedule") from error
            if error.status == RPCStatusCode.INVALID_ARGUMENT and error.message.startswith(BAD_TIMES_PREFIX):
                raise BadTimes(error.message.removeprefix(BAD_TIMES_PREFIX)) from error
            raise
