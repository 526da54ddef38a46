"""The schedules: rows of the registry, which Temporal executes. It is asked for times and results only.

A change is written to the row, and then to Temporal. If Temporal is away, or has lost a schedule, the repair makes up
for it (`hookkeeper.temporal.run_repair`). Raises the errors of `hookkeeper.registry.schedules` and
`hookkeeper.temporal.server.error_translation`, and `BadTimes`.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import structlog
from temporalio.api.enums.v1 import ScheduleOverlapPolicy as OverlapPolicyEnum
from temporalio.api.schedule.v1 import SchedulePatch, ScheduleState, TriggerImmediatelyRequest
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    ListScheduleMatchingTimesRequest,
    PatchScheduleRequest,
    UpdateScheduleRequest,
)
from temporalio.client import Client, ScheduleBackfill, ScheduleDescription, ScheduleHandle
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.crypto.keyring import CipherError
from hookkeeper.messages.schedule import OverlapPolicy, ScheduleSettings
from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.schedules import Change, Schedule, UnknownSchedule
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.tenants import TenantDeleted
from hookkeeper.temporal.schedules.conversion import (
    ScheduleSnapshot,
    firings_of,
    overlap_policy,
    schedule_of,
    search_attributes,
    settings_of,
    snapshot_of,
    timestamp,
)
from hookkeeper.temporal.server import installation
from hookkeeper.temporal.server.error_translation import (
    Conflict,
    GatewayError,
    RequestTooLarge,
    Unavailable,
    not_found_suppressed,
    translated_errors,
)
from hookkeeper.temporal.server.visibility import read_all

RESOLUTION = timedelta(microseconds=1)
BAD_TIMES_PREFIX = "Invalid schedule spec: "
"""Begins Temporal's message about the times of a schedule."""
READ_TIMEOUT = 2.0
"""Seconds after which schedules are shown without their times."""
MAX_CHANGES = 5
"""Changes of one schedule in Temporal, after which it is left to the next repair."""
UNREADABLE = (CipherError, ValueError, TypeError, LookupError, RuntimeError)
"""Errors of an input that was written with Temporal's tools, or is encrypted with a key that was removed."""
PER_PAGE = 500
"""Schedules that a repair reads at once."""
ALL = f"ScheduleId STARTS_WITH '{ids.SCHEDULE_PREFIX}'"
"""In a namespace that is new, search attributes cannot be asked for."""
log = structlog.get_logger("hookkeeper.schedules")


class BadTimes(Exception):
    """Temporal rejects the times of this plan, with a reason."""


class Schedules:
    """All schedules."""

    def __init__(self, client: Client, task_queue: str, store: Store) -> None:
        self._client = client
        self._task_queue = task_queue
        self._store = store
        self._rows = store.schedules

    # With or without Temporal

    async def create(self, settings: ScheduleSettings, at_most: int, entry: AuditEntry) -> ScheduleSnapshot:
        """Make a schedule. Raises ScheduleExists and TooManySchedules."""
        row = await self._rows.add(settings, at_most, entry)
        is_there = await self._apply_or_undo(row, lambda _: None)
        (described,) = await self._describe([row]) if is_there else [None]
        return snapshot_of(row, described)

    async def change(self, tenant: str, schedule: str, change: Change, entry: AuditEntry | None) -> None:
        """Change a schedule, unless it is already as it should be. Raises UnknownSchedule, and what `change` raises."""
        before = (await self._rows.get(tenant, schedule)).settings
        if row := await self._rows.change(tenant, schedule, change, entry):
            await self._apply_or_undo(row, lambda _: before)

    async def delete(self, tenant: str, schedule: str, entry: AuditEntry | None = None) -> None:
        """Delete a schedule. The events that it made are kept."""
        await self.change(tenant, schedule, lambda _: None, entry)

    async def read(self, tenant: str, schedule: str) -> ScheduleSnapshot:
        """Return a schedule with its latest firings."""
        row = await self._rows.get(tenant, schedule)
        (described,) = await self._describe([row])
        with suppress(Unavailable):
            async with _translated_errors():
                return snapshot_of(row, described, await firings_of(self._client, described) if described else ())
        return snapshot_of(row, None)

    async def page(
        self, tenant: str | None, limit: int, cursor: str | None
    ) -> tuple[list[ScheduleSnapshot], str | None]:
        """Return one page, the newest first, and the cursor of the next; None is all tenants. Raises
        BadRegistryCursor.
        """
        rows, end = await self._rows.page(tenant, limit, cursor)
        return [snapshot_of(*each) for each in zip(rows, await self._describe(rows), strict=True)], end

    async def _describe(self, rows: Sequence[Schedule]) -> list[ScheduleDescription | None]:
        """Return Temporal's descriptions; None of what it does not have, and of all if it does not answer."""

        async def describe(row: Schedule) -> ScheduleDescription | None:
            described = await self._find(row.tenant, row.id)
            return described if described and self._is_own(described) else None

        try:
            async with _translated_errors(), asyncio.timeout(READ_TIMEOUT):
                return await read_all(rows, describe)
        except GatewayError:
            return [None] * len(rows)

    # With Temporal

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
        await self._apply_known(tenant, schedule)
        async with _translated_errors():
            await self._client.workflow_service.patch_schedule(request, retry=True)

    async def times(self, tenant: str, schedule: str, since: datetime, until: datetime) -> list[datetime]:
        """Return the first thousand times from `since` on and before `until`."""
        await self._apply_known(tenant, schedule)
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

    async def _apply_known(self, tenant: str, schedule: str) -> None:
        """Let Temporal have the schedule as it is. Raises UnknownSchedule."""
        await self._rows.get(tenant, schedule)
        await self.apply(tenant, schedule)

    # What Temporal has

    async def apply(self, tenant: str, schedule: str) -> bool:
        """Let Temporal have what the row says; return whether it had something else.

        Temporal silently drops a change if the schedule was changed since it was read. So the result is read again, and
        so is the row. Raises Conflict if another installation in the namespace has such a schedule.
        """
        has_changed = False
        async with _translated_errors():
            for _ in range(MAX_CHANGES):
                described = await self._find(tenant, schedule)
                row = await self._rows.find(tenant, schedule)
                settings = row.settings if row else None
                if described and not self._is_own(described):
                    if settings:
                        raise Conflict("another installation in the namespace has a schedule of this tenant and id")
                    described = None
                if await self._has(described, settings):
                    if row:
                        await self._rows.note_executed(row)
                    return has_changed
                await self._put(ids.schedule_id(tenant, schedule), settings, described)
                has_changed = True
        raise Unavailable("Temporal has the schedule otherwise after each change")

    async def _has(self, described: ScheduleDescription | None, settings: ScheduleSettings | None) -> bool:
        """Return whether Temporal has these settings."""
        if described is None:
            return settings is None
        try:
            return await settings_of(self._client, described) == settings
        except UNREADABLE:
            return False

    async def repair(self, *, compares: bool) -> None:
        """Make again what Temporal has lost, apply changes that it has missed, and take over what has no row: it was
        made before the registry was restored.

        `compares`: also what Temporal's list does not show. Raises WrongRegistry, Unavailable, RegistryUnavailable and
        Temporal's `RPCError`.
        """
        await installation.check(self._client, self._task_queue, self._store.rows)
        found = await self._client.list_schedules(ALL, page_size=PER_PAGE)
        shown = [each async for each in found if ids.is_schedule(each.id)]
        listed = {each.id: each.schedule.state.paused if each.schedule else None for each in shown}
        after = ("", "")
        while states := await self._rows.states(after, PER_PAGE):
            for state in states:
                paused = listed.pop(ids.schedule_id(state.tenant, state.id), None)
                if compares or paused != state.paused or not state.is_executed:
                    await self._repair(state.tenant, state.id)
            after = states[-1].tenant, states[-1].id
        for name in listed:
            tenant, schedule = ids.schedule_of(name)
            if await self._rows.find(tenant, schedule):
                await self._repair(tenant, schedule)
            else:
                await self._take_over(tenant, schedule)

    async def _repair(self, tenant: str, schedule: str) -> None:
        try:
            if await self.apply(tenant, schedule):
                log.info("schedule repaired", tenant=tenant, schedule=schedule)
        except (BadTimes, Conflict, RequestTooLarge, CipherError) as error:
            log.warning("schedule not repaired", tenant=tenant, schedule=schedule, error=str(error))

    async def _take_over(self, tenant: str, schedule: str) -> None:
        """Add the row of a schedule that Temporal has, unless its tenant was deleted."""
        async with _translated_errors():
            described = await self._find(tenant, schedule)
            if described is None or not self._is_own(described):
                return
            try:
                await self._store.tenants.note(tenant)
                settings = await settings_of(self._client, described)
                await self._rows.take_over(settings, described.info.created_at)
            except TenantDeleted:
                await self._put(described.id, None, described)
            except UNREADABLE as error:
                log.warning("schedule not taken over", tenant=tenant, schedule=schedule, error=str(error))

    async def _apply_or_undo(self, row: Schedule, undo: Change) -> bool:
        """Let Temporal have what the row says; return whether it answers. If it refuses that, change the row back."""
        try:
            await self.apply(row.tenant, row.id)
            return True
        except Unavailable as error:
            log.warning("a schedule waits for Temporal", tenant=row.tenant, schedule=row.id, error=str(error))
            return False
        except (BadTimes, GatewayError, RPCError):
            with suppress(UnknownSchedule):
                await self._rows.change(row.tenant, row.id, undo, None)
            raise

    async def _put(self, name: str, settings: ScheduleSettings | None, described: ScheduleDescription | None) -> None:
        """Create, change or delete Temporal's schedule."""
        if settings is None:
            with not_found_suppressed():
                await self._client.get_schedule_handle(name).delete()
            return
        state = ScheduleState(paused=settings.paused, notes=settings.note)
        plan, attributes = settings.plan, search_attributes(settings.plan)
        schedule = await schedule_of(self._client, plan, self._task_queue, state)
        namespace, identity, request_id = self._client.namespace, self._client.identity, uuid.uuid4().hex
        if described:
            update = UpdateScheduleRequest(
                namespace=namespace,
                schedule_id=name,
                schedule=schedule,
                search_attributes=attributes,
                conflict_token=described.raw_description.conflict_token,
                identity=identity,
                request_id=request_id,
            )
            await self._client.workflow_service.update_schedule(update, retry=True)
            return
        create = CreateScheduleRequest(
            namespace=namespace,
            schedule_id=name,
            schedule=schedule,
            search_attributes=attributes,
            identity=identity,
            request_id=request_id,
        )
        try:
            await self._client.workflow_service.create_schedule(create, retry=True)
        except RPCError as error:
            if error.status != RPCStatusCode.ALREADY_EXISTS:  # another process has applied it
                raise

    async def _find(self, tenant: str, schedule: str) -> ScheduleDescription | None:
        with not_found_suppressed():
            return await self._handle(tenant, schedule).describe()
        return None

    def _is_own(self, described: ScheduleDescription) -> bool:
        """Return whether a schedule is not one of another installation in the namespace."""
        action = described.raw_description.schedule.action
        return action.start_workflow.task_queue.name == self._task_queue

    def _handle(self, tenant: str, schedule: str) -> ScheduleHandle:
        return self._client.get_schedule_handle(ids.schedule_id(tenant, schedule))


@asynccontextmanager
async def _translated_errors() -> AsyncIterator[None]:
    """Translate Temporal's errors, as `translated_errors` does, to those of schedules."""
    async with translated_errors(not_found=Unavailable):
        try:
            yield
        except RPCError as error:
            if error.status == RPCStatusCode.INVALID_ARGUMENT and error.message.startswith(BAD_TIMES_PREFIX):
                raise BadTimes(error.message.removeprefix(BAD_TIMES_PREFIX)) from error
            raise
