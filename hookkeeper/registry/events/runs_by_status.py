"""Find runs by the status of their deliveries, oldest first: for releases and recoveries.

A search continues after the position of a run, so none is left out or found twice, whatever changes meanwhile.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, column, select, text, tuple_

from hookkeeper.messages.bulk_work import RecoveryScope, RunPosition
from hookkeeper.messages.event import Reason
from hookkeeper.messages.partition import PART
from hookkeeper.registry.events.tables import NOT_SUCCEEDED, deliveries
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.storage.database import Database
from hookkeeper.statuses import DeliveryStatus

COLUMNS = {name: column(name, kind.type) for name, kind in deliveries.columns.items()}
"""Without the table's name: the query names the index together with the table."""
POSITION = tuple(COLUMNS[name] for name in ("accepted_at", "event_id", "part"))
RUNS_PER_COUNT = 5000
HELD_BY_WEBHOOK: tuple[Reason, ...] = ("webhook_paused", "webhook_disabled")


@dataclass(frozen=True, slots=True)
class Selection:
    """Deliveries of a tenant by their status. None means any."""

    tenant: str
    webhook_id: str | None
    statuses: tuple[DeliveryStatus, ...]
    reasons: tuple[Reason, ...] = ()
    types: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    @property
    def index(self) -> str:
        """The name of the index that has these deliveries in order."""
        return "ix_deliveries_webhook_status" if self.webhook_id else "ix_deliveries_tenant_status"

    def conditions(self, status: DeliveryStatus) -> Iterable[ColumnElement[bool]]:
        """Return the conditions of a query of those with a status."""
        yield COLUMNS["tenant"] == self.tenant
        yield COLUMNS["status"] == status
        if self.webhook_id is not None:
            yield COLUMNS["webhook_id"] == self.webhook_id
        if self.reasons:
            yield COLUMNS["reason"].in_(self.reasons)
        if self.types:
            yield COLUMNS["type"].in_(self.types)
        if self.since is not None:
            yield COLUMNS["accepted_at"] >= self.since
        if self.until is not None:
            yield COLUMNS["accepted_at"] < self.until


class FoundRun(NamedTuple):
    """A run with selected deliveries."""

    position: RunPosition
    finished_at: datetime | None
    """When the first of these deliveries was final; None while they wait."""

    def was_there(self, at: datetime) -> bool:
        """Return whether its deliveries had this status before a time, or wait."""
        return self.finished_at is None or self.finished_at < at


def held_by(tenant: str, webhook_id: str) -> Selection:
    """Select what a webhook holds because it was paused or disabled."""
    return Selection(tenant, webhook_id, ("held",), reasons=HELD_BY_WEBHOOK)


def recoverable(scope: RecoveryScope) -> Selection:
    """Select what a recovery redelivers."""
    statuses: tuple[DeliveryStatus, ...] = (scope.status, "retrying") if scope.retrying else (scope.status,)
    return Selection(scope.tenant, scope.webhook_id, statuses, types=scope.types, since=scope.since, until=scope.until)


class RunsByStatus:
    """Methods raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def oldest(
        self, selection: Selection, after: RunPosition | None, at_most: int
    ) -> tuple[list[FoundRun], RunPosition | None]:
        """Return the oldest runs after a position, and the position to continue after; None if these are all."""
        # SQLite would choose the index of all deliveries of the webhook, most of which have succeeded.
        hint = f" INDEXED BY {selection.index}" if self._database.dialect.name == "sqlite" else ""
        query = select(*POSITION, COLUMNS["finished_at"]).select_from(text(f"deliveries{hint}")).where(NOT_SUCCEEDED)
        if after is not None:
            query = query.where(tuple_(*POSITION) > after, COLUMNS["accepted_at"] >= after.accepted_at)
        limit = at_most + PART
        found: list[Any] = []
        async with self._database.read() as session:
            for status in selection.statuses:  # the index has those of one status in order
                ordered = query.where(*selection.conditions(status)).order_by(*POSITION).limit(limit)
                found += (await session.execute(ordered)).all()
        rows = sorted(found, key=_position_of)[:limit]
        runs = _by_run(rows)
        if len(rows) == limit:
            del runs[-1]  # not all of its deliveries may have been read
        is_end = len(rows) < limit and len(runs) <= at_most
        return runs[:at_most], None if is_end else runs[:at_most][-1].position

    async def held_by_active(self, before: datetime) -> list[tuple[str, str]]:
        """Return tenants and ids of webhooks that are neither paused nor disabled, and hold something since a time."""
        c = deliveries.c
        is_held = c.webhook_id == Webhook.id, c.status == "held", c.reason.in_(HELD_BY_WEBHOOK), c.as_of < before
        holds = select(c.id).where(*is_held, NOT_SUCCEEDED).exists()
        query = select(Webhook.tenant, Webhook.id).where(Webhook.enabled, Webhook.paused_at.is_(None), holds)
        async with self._database.read() as session:
            return [(tenant, webhook_id) for tenant, webhook_id in await session.execute(query)]

    async def count(self, selection: Selection, finished_before: datetime) -> int:
        """Count the runs of which a selected delivery was final before this time, or waits."""
        count, after = 0, None
        while True:
            runs, after = await self.oldest(selection, after, RUNS_PER_COUNT)
            count += sum(run.was_there(finished_before) for run in runs)
            if after is None:
                return count


def _by_run(rows: Sequence[Any]) -> list[FoundRun]:
    """Return the runs of these rows, which are sorted."""
    return [
        FoundRun(position, min((row.finished_at for row in group if row.finished_at), default=None))
        for position, group in groupby(rows, key=_position_of)
    ]


def _position_of(row: Any) -> RunPosition:
    return RunPosition(row.accepted_at, row.event_id, row.part)
