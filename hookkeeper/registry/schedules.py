"""The schedules. Temporal's schedules execute them, and are made again from them
(`hookkeeper.temporal.schedules.client`).

The row of a schedule that was deleted stays without its plan for the retention, so that a copy of it in a Temporal that
was away, or was restored from a backup, is recognised. Methods raise RegistryUnavailable.
"""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Index, and_, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from hookkeeper import metrics
from hookkeeper.messages.schedule import SchedulePlan, ScheduleSettings
from hookkeeper.registry.audit import AuditEntry, add_entry
from hookkeeper.registry.models import Base, ElementJson
from hookkeeper.registry.storage.database import Database, lock
from hookkeeper.registry.storage.encryption import EncryptedJson
from hookkeeper.registry.storage.paging import read_page
from hookkeeper.times import utc_now


class Schedule(Base, kw_only=True, eq=False):
    """A schedule, or what is left of one that was deleted."""

    __tablename__ = "schedules"
    __table_args__ = (Index("ix_schedules_created_at", "created_at", "tenant", "id"),)

    tenant: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    plan: Mapped[SchedulePlan | None] = mapped_column(EncryptedJson("schedules.plan", ElementJson(SchedulePlan)))
    """NULL: it was deleted when it was changed last."""
    key_id: Mapped[str]
    """The key that made it."""
    paused: Mapped[bool] = mapped_column(default=False)
    note: Mapped[str] = mapped_column(default="")
    version: Mapped[int] = mapped_column(default=1)
    """One more with each change."""
    executed: Mapped[int] = mapped_column(default=0)
    """The version that Temporal has."""
    created_at: Mapped[datetime] = mapped_column(default_factory=utc_now)
    updated_at: Mapped[datetime | None] = mapped_column(default=None)

    @property
    def settings(self) -> ScheduleSettings | None:
        return None if self.plan is None else ScheduleSettings(self.plan, self.paused, self.note)

    def put(self, settings: ScheduleSettings | None) -> None:
        """Change what it says; None deletes it."""
        self.plan, self.paused, self.note = settings or (None, False, "")
        self.version += 1
        self.updated_at = utc_now()


Change = Callable[[ScheduleSettings], ScheduleSettings | None]
"""Returns the new settings of a schedule; None deletes it."""
IS_THERE = Schedule.plan.is_not(None)
ORDER = (Schedule.created_at, Schedule.tenant, Schedule.id)


class ScheduleState(NamedTuple):
    """What Temporal's list shows of a schedule too."""

    tenant: str
    id: str
    paused: bool
    is_executed: bool


class ScheduleExists(Exception):
    """The tenant has a schedule with this id."""


class TooManySchedules(Exception):
    """The tenant has as many schedules as it may have."""


class UnknownSchedule(Exception):
    """There is no such schedule."""

    def __init__(self) -> None:
        super().__init__("no such schedule")


class ScheduleRows:
    """Stores schedules. Returned rows are detached; change them through these methods only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, settings: ScheduleSettings, at_most: int, entry: AuditEntry) -> Schedule:
        """Add a schedule. Raises ScheduleExists, and TooManySchedules if the tenant has `at_most`."""
        plan = settings.plan
        async with self._database.write() as session:
            await lock(session, f"schedules of {plan.tenant}")
            row = await session.get(Schedule, (plan.tenant, plan.id))
            if row is not None and row.plan is not None:
                raise ScheduleExists(f"there is a schedule with id {plan.id} for tenant {plan.tenant}")
            if await _count(session, plan.tenant) >= at_most:
                metrics.count_limit("schedules")
                raise TooManySchedules(f"tenant {plan.tenant} has {at_most} schedules, which is the maximum")
            if row is None:
                row = Schedule(tenant=plan.tenant, id=plan.id, key_id=plan.key_id, **settings._asdict())
                session.add(row)
            else:
                row.put(settings)
                row.key_id, row.created_at, row.updated_at = plan.key_id, utc_now(), None
            add_entry(session, entry)
        return row

    async def take_over(self, settings: ScheduleSettings, created_at: datetime) -> None:
        """Add a schedule that Temporal has, unless there is a row of it."""
        plan = settings.plan
        row = Schedule(
            **settings._asdict(),
            tenant=plan.tenant,
            id=plan.id,
            key_id=plan.key_id,
            executed=1,
            created_at=created_at,
        )
        async with self._database.write() as session:
            if await session.get(Schedule, (plan.tenant, plan.id)) is None:
                session.add(row)

    async def get(self, tenant: str, schedule: str) -> Schedule:
        """Return a schedule. Raises UnknownSchedule."""
        if (row := await self.find(tenant, schedule)) is None or row.plan is None:
            raise UnknownSchedule
        return row

    async def find(self, tenant: str, schedule: str) -> Schedule | None:
        """Return the row of a schedule, also of one that was deleted, or None."""
        async with self._database.read() as session:
            return await session.get(Schedule, (tenant, schedule))

    async def page(self, tenant: str | None, limit: int, cursor: str | None) -> tuple[list[Schedule], str | None]:
        """Return up to `limit` schedules, newest first, and the next cursor; None is all tenants. Raises
        BadRegistryCursor.
        """
        query = select(Schedule).where(IS_THERE, *(() if tenant is None else (Schedule.tenant == tenant,)))
        return await read_page(self._database, query, ORDER, limit, cursor)

    async def made_by(self, key_id: str) -> list[Schedule]:
        """Return the schedules that a key made."""
        async with self._database.read() as session:
            return [*await session.scalars(select(Schedule).where(IS_THERE, Schedule.key_id == key_id))]

    async def count(self, tenant: str) -> int:
        """Return how many schedules a tenant has."""
        async with self._database.read() as session:
            return await _count(session, tenant)

    async def states(self, after: tuple[str, str], limit: int) -> list[ScheduleState]:
        """Return the next schedules, in the order of tenant and id, and those that Temporal has yet to delete."""
        key, is_executed = (Schedule.tenant, Schedule.id), Schedule.executed == Schedule.version
        query = select(*key, Schedule.paused, is_executed).where(or_(IS_THERE, ~is_executed))
        async with self._database.read() as session:
            rows = await session.execute(query.where(tuple_(*key) > after).order_by(*key).limit(limit))
            return [ScheduleState(row[0], row[1], row[2], bool(row[3])) for row in rows]

    async def change(self, tenant: str, schedule: str, change: Change, entry: AuditEntry | None) -> Schedule | None:
        """Change a schedule and return its row; None if it is already as it should be. Raises UnknownSchedule, and what
        `change` raises.
        """
        async with self._database.write() as session:
            row = await session.get(Schedule, (tenant, schedule), with_for_update=True)
            if row is None or row.settings is None:
                raise UnknownSchedule
            if (settings := change(row.settings)) == row.settings:
                return None
            row.put(settings)
            add_entry(session, entry)
        return row

    async def note_executed(self, row: Schedule) -> None:
        """Note that Temporal has what the row says."""
        if row.executed == row.version:
            return
        is_it = Schedule.tenant == row.tenant, Schedule.id == row.id, Schedule.version == row.version
        async with self._database.write() as session:
            await session.execute(update(Schedule).where(*is_it).values(executed=row.version))

    async def has_stopped(self, tenant: str, schedule: str, time: datetime) -> bool:
        """Return whether a schedule was deleted, or paused before this time of it without Temporal knowing it."""
        is_paused = and_(Schedule.paused, Schedule.executed != Schedule.version, Schedule.updated_at < time)
        query = select(or_(~IS_THERE, is_paused)).where(Schedule.tenant == tenant, Schedule.id == schedule)
        async with self._database.read() as session:
            return bool(await session.scalar(query))


async def _count(session: AsyncSession, tenant: str) -> int:
    query = select(func.count()).select_from(Schedule).where(Schedule.tenant == tenant, IS_THERE)
    return await session.scalar(query) or 0
