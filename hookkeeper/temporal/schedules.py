"""The client side of schedules: make, read, change, fire. Temporal is the only place where they are kept.

Raises what `hookkeeper.temporal.error_translation` names, and `BadTimes`.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from temporalio.api.schedule.v1 import BackfillRequest, SchedulePatch, ScheduleState, TriggerImmediatelyRequest
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    ListScheduleMatchingTimesRequest,
    PatchScheduleRequest,
    UpdateScheduleRequest,
)
from temporalio.client import Client, ScheduleDescription
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.limits.tenant_limit import TenantLimit
from hookkeeper.messages.schedule import OverlapPolicy, SchedulePlan
from hookkeeper.temporal.error_translation import Conflict, TooManySchedules, UnknownSchedule, reaching_temporal
from hookkeeper.temporal.listing import sealed, unsealed
from hookkeeper.temporal.schedule_protos import OVERLAPS, schedule_of, search_attributes, timestamp
from hookkeeper.temporal.schedule_reading import Known, firings_of, known_of

MOMENT = timedelta(microseconds=1)
LIST_DELAY = 60.0
"""Seconds after which a schedule that was made is in Temporal's list, with much to spare."""
PAGE = 50
"""Schedules that are read in one page where all of a key are looked for."""
AT_ONCE = 10
"""Schedules of a page that are read at the same time."""
Change = Callable[[Known], tuple[SchedulePlan, bool, str]]
"""Makes of a schedule as it stands the plan that is to be, whether it is paused, and the note."""


class BadTimes(Exception):
    """Temporal does not take the times of this plan; says why."""


class Schedules:
    """All that the API knows of Temporal's schedules. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._creating = TenantLimit("schedules", 1)
        self._created: dict[str, float] = {}
        """The schedules made within `LIST_DELAY`, by their ids in Temporal, and when."""

    async def create(self, plan: SchedulePlan, paused: bool, note: str, at_most: int) -> Known:
        """Make a schedule; raise `Conflict` where the tenant has one of this id, and TooManySchedules.

        One at a time for each tenant: two at once could both find room for one more.
        """
        async with self._creating.place(plan.tenant), _asking():
            await self._check_room(plan, at_most)
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
            self._created[request.schedule_id] = time.monotonic()
            return await known_of(self._client, await self._describe(plan.tenant, plan.id))

    async def _check_room(self, plan: SchedulePlan, at_most: int) -> None:
        """Raise TooManySchedules where the tenant has `at_most`. Those just made may still be missing in the list."""
        now = time.monotonic()
        self._created = {name: made for name, made in self._created.items() if now - made < LIST_DELAY}
        found = await self._client.list_schedules(_of_tenant(plan.tenant), page_size=at_most + 1)
        await found.fetch_next_page()
        known = {each.id for each in found.current_page or ()}
        known |= {name for name in self._created if ids.schedule_of(name)[0] == plan.tenant}
        name = ids.schedule_id(plan.tenant, plan.id)
        if len(known) >= at_most and name not in known:
            raise TooManySchedules(f"tenant {plan.tenant} has {at_most} schedules, and may have no more")

    async def made_by(self, key_id: str, tenant: str | None) -> list[Known]:
        """Give the schedules that a key made; `tenant` is the one that it is for, None is all."""
        found: list[Known] = []
        cursor: str | None = None
        while True:
            page, cursor = await self.page(tenant, PAGE, cursor)
            found += [each for each in page if each.plan.key_id == key_id]
            if cursor is None:
                return found

    async def read(self, tenant: str, schedule: str) -> Known:
        """Give a schedule with its latest firings."""
        async with _asking():
            described = await self._describe(tenant, schedule)
            return await known_of(self._client, described, await firings_of(self._client, described))

    async def page(self, tenant: str | None, limit: int, cursor: str | None) -> tuple[list[Known], str | None]:
        """Give one page, the newest first, and the cursor of the next; None as tenant is all. Raises `BadCursor`.

        Each is read: what Temporal's list knows lags behind, and lacks what people wrote.
        """
        query = _of_tenant(tenant)
        slots = asyncio.Semaphore(AT_ONCE)

        async def read(name: str) -> Known | None:
            async with slots:
                try:
                    return await known_of(self._client, await self._client.get_schedule_handle(name).describe())
                except RPCError as error:
                    if error.status != RPCStatusCode.NOT_FOUND:  # removed meanwhile
                        raise
                    return None

        async with _asking():
            token = unsealed(query, cursor)
            found = await self._client.list_schedules(query, page_size=limit, next_page_token=token)
            await found.fetch_next_page()
            known = await asyncio.gather(*(read(each.id) for each in found.current_page or ()))
            return [each for each in known if each], sealed(query, found.next_page_token)

    async def change(self, tenant: str, schedule: str, change: Change) -> Known:
        """Change a schedule as it stands.

        Temporal drops a change of what somebody else has changed meanwhile, and says nothing: so it is read back, and
        made again.
        """
        async with _asking():
            while True:
                described = await self._describe(tenant, schedule)
                plan, paused, note = change(await known_of(self._client, described))
                state = ScheduleState(paused=paused, notes=note)
                request = UpdateScheduleRequest(
                    namespace=self._client.namespace,
                    schedule_id=described.id,
                    schedule=await schedule_of(self._client, plan, self._task_queue, state),
                    search_attributes=search_attributes(plan),
                    conflict_token=described.raw_description.conflict_token,
                    identity=self._client.identity,
                    request_id=uuid.uuid4().hex,
                )
                await self._client.workflow_service.update_schedule(request, retry=True)
                known = await known_of(self._client, await self._describe(tenant, schedule))
                if (known.plan, known.paused, known.note) == (plan, paused, note):
                    return known

    async def pause(self, tenant: str, schedule: str, note: str) -> None:
        """Let it fire no more, until it is resumed. The note is shown with it."""
        await self._patch(tenant, schedule, SchedulePatch(pause=note))

    async def resume(self, tenant: str, schedule: str, note: str) -> None:
        """Let it fire again, from now on."""
        await self._patch(tenant, schedule, SchedulePatch(unpause=note))

    async def trigger(self, tenant: str, schedule: str, overlap: OverlapPolicy) -> None:
        """Fire now, also while it is paused."""
        request = TriggerImmediatelyRequest(overlap_policy=OVERLAPS[overlap])
        await self._patch(tenant, schedule, SchedulePatch(trigger_immediately=request))

    async def times(self, tenant: str, schedule: str, since: datetime, until: datetime) -> list[datetime]:
        """Give its times from `since` on and before `until`: the first thousand."""
        async with _asking():
            request = ListScheduleMatchingTimesRequest(
                namespace=self._client.namespace,
                schedule_id=ids.schedule_id(tenant, schedule),
                start_time=timestamp(since - MOMENT),  # which it leaves out, and a backfill does not
                end_time=timestamp(until - MOMENT),
            )
            answer = await self._client.workflow_service.list_schedule_matching_times(request, retry=True)
            return [each.ToDatetime(since.tzinfo) for each in answer.start_time]

    async def backfill(
        self, tenant: str, schedule: str, since: datetime, until: datetime, overlap: OverlapPolicy
    ) -> None:
        """Fire for all its times from `since` on and before `until`, about ten a second."""
        request = BackfillRequest(
            start_time=timestamp(since), end_time=timestamp(until - MOMENT), overlap_policy=OVERLAPS[overlap]
        )
        await self._patch(tenant, schedule, SchedulePatch(backfill_request=[request]))

    async def delete(self, tenant: str, schedule: str) -> None:
        """Forget a schedule. Events that it made stay."""
        async with _asking():
            await self._client.get_schedule_handle(ids.schedule_id(tenant, schedule)).delete()
            self._created.pop(ids.schedule_id(tenant, schedule), None)

    async def _patch(self, tenant: str, schedule: str, patch: SchedulePatch) -> None:
        async with _asking():
            request = PatchScheduleRequest(
                namespace=self._client.namespace,
                schedule_id=ids.schedule_id(tenant, schedule),
                patch=patch,
                identity=self._client.identity,
                request_id=uuid.uuid4().hex,
            )
            await self._client.workflow_service.patch_schedule(request, retry=True)

    async def _describe(self, tenant: str, schedule: str) -> ScheduleDescription:
        return await self._client.get_schedule_handle(ids.schedule_id(tenant, schedule)).describe()


def _of_tenant(tenant: str | None) -> str:
    """Write the query for the schedules of a tenant, or of all."""
    of_tenant = f"= '{tenant}'" if tenant else "IS NOT NULL"
    return f"ScheduleId STARTS_WITH '{ids.SCHEDULE_PREFIX}' AND {ids.TENANT.name} {of_tenant}"


@asynccontextmanager
async def _asking() -> AsyncIterator[None]:
    """Say Temporal's faults in our own words."""
    async with reaching_temporal():
        try:
            yield
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise UnknownSchedule("no such schedule") from error
            if error.status == RPCStatusCode.INVALID_ARGUMENT:
                raise BadTimes(error.message.removeprefix("Invalid schedule spec: ")) from error
            raise
