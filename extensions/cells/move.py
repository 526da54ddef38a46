"""Move a tenant to another cell, in steps that can each be repeated after the process was killed (decision 53).

1. Routers refuse changes of the tenant for a moment, and still accept its events, in the old cell.
2. What the tenant has is copied. Ordered webhooks are disabled in the new cell (`moving`), which holds deliveries.
3. The map changes: the new cell accepts. The old one delivers what it has, with the settings of the new one.
4. Once the lines of the ordered webhooks are empty there, those in the new cell are enabled.
5. Once nothing waits there, the old cell shuts the tenant out, and its webhooks are removed. It keeps the events until
   their retention ends.
"""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from extensions.cells import cell_map
from extensions.cells.access import CellAccess, CellUnavailable, MoveFailed
from extensions.cells.cell_map import Place
from hookkeeper.registry.catalogue import EventTypeExists
from hookkeeper.registry.models import MOVING, EventType, Suppression
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.times import rfc3339, utc_now

PAUSE = 2.0
"""Seconds between two looks at what the old cell still has to do."""
BACKFILL_AT_ONCE = timedelta(hours=1)
"""The time that a backfill of a schedule covers: it takes fewer than 1000 times."""
SECOND = timedelta(seconds=1)
NOTE = re.compile(r"Moving to (?P<cell>\S+) since (?P<since>\S+)\.(?: (?P<note>.*))?", re.DOTALL)
"""The note of a schedule that was paused for the move."""
SHOWN_ONLY = {"type", "next", "links", "recent", "skipped", "missed", "created_at", "updated_at"}
"""Fields of a schedule that cannot be set."""
ENABLING = ("enabled", "disabled_reason", "disabled_at")


def left_cell(place: Place, to: str) -> str | None:
    """Return the cell that a tenant leaves, or is still leaving; None if it has moved. Raises MoveFailed."""
    if place.draining is not None:
        if to != place.cell:
            raise MoveFailed(f"the tenant is still leaving {place.draining}: finish that first, with --to {place.cell}")
        return place.draining
    if place.moving_to not in (None, to) and to != place.cell:
        raise MoveFailed(f"a move to {place.moving_to} has begun: finish it, or take it back with --to {place.cell}")
    return None if to == place.cell and place.moving_to is None else place.cell


class Move:
    """The move of a tenant. Methods raise MoveFailed, BadCellMap, CellUnavailable and RegistryUnavailable."""

    def __init__(
        self,
        path: Path,
        tenant: str,
        source: CellAccess,
        target: CellAccess,
        settle: float,
        tell: Callable[[str], None],
    ) -> None:
        """`settle`: seconds after which all routers have a changed map, and requests by the old one have ended."""
        self._path = path
        self._tenant = tenant
        self._source = source
        self._target = target
        self._settle = settle
        self._tell = tell
        self._query = {"params": {"tenant": tenant}}
        self._has_left = False

    async def run(self) -> None:
        """Move the tenant, or go on with it."""
        with cell_map.locked(self._path):
            if self._place().cell != self._target.name:
                await self._hand_over()
        self._tell(f"{self._target.name} accepts the tenant's events; {self._source.name} delivers what it has")
        await asyncio.sleep(self._settle)
        await self._begin_schedules()
        await self._until_delivered(only_in_order=True)
        await self._enable()
        self._tell(f"ordered webhooks deliver in {self._target.name}")
        await self._until_delivered(only_in_order=False)
        await self._leave()
        await self._until_delivered(only_in_order=False)  # what was accepted until then
        await self._clear()
        with cell_map.locked(self._path):
            previous = self._place().previous | {self._source.name: utc_now() + self._source.retention}
            self._put(Place(cell=self._target.name, previous=previous))
        self._tell(
            f"{self._source.name} has nothing left to do; earlier events can be read there until their retention ends"
        )

    async def take_back(self) -> None:
        """Undo a move that has not changed where events are accepted."""
        with cell_map.locked(self._path):
            await self._begin_schedules()
            await self._target.store.tenants.leave(self._tenant)
            self._put(self._place().model_copy(update={"moving_to": None}))

    def _place(self) -> Place:
        return cell_map.read(self._path).place(self._tenant)

    def _put(self, place: Place) -> None:
        cell_map.write(self._path, cell_map.read(self._path).with_place(self._tenant, place))

    async def _hand_over(self) -> None:
        self._put(self._place().model_copy(update={"moving_to": self._target.name}))
        self._tell("changes of the tenant's webhooks, keys and schedules are refused while they are copied")
        await asyncio.sleep(self._settle)
        await self._copy_rows()
        await self._copy_schedules()
        async for link in self._source.all("portal-sessions", self._tenant):
            if link["revoked_at"] is None:
                await self._source.call("DELETE", f"portal-sessions/{link['id']}", 404)
        until = utc_now() + self._source.retention
        previous = {**self._place().previous, self._source.name: until}
        previous.pop(self._target.name, None)
        self._put(Place(cell=self._target.name, draining=self._source.name, previous=previous))

    # What is copied

    async def _copy_rows(self) -> None:
        """Make webhooks, keys, suppressions, search keys and event types in the new cell equal to those in the old."""
        old, new, tenant = self._source.rows, self._target.rows, self._tenant
        await self._copy_event_types()
        await self._copy_suppressions()
        await new.put_owned(tenant, await old.owned(tenant))
        webhooks = await old.versions(tenant)
        await new.remove_webhooks(tenant, [*webhooks])
        for webhook_id in webhooks:
            row = await old.webhook(webhook_id)
            if row["ordered"] and row["enabled"]:
                row |= {"enabled": False, "disabled_reason": MOVING, "disabled_at": utc_now()}
            await new.put_webhook(row)
        self._tell(f"{len(webhooks)} webhooks are copied")

    async def _copy_event_types(self) -> None:
        """Add the types that the new cell lacks. One that both have is the business of their operator."""
        after = None
        while True:
            page, after = await self._source.store.catalogue.page(archived=None, limit=100, after=after)
            for known in page:
                fields = ("name", "description", "schema", "examples", "archived", "search_keys")
                try:
                    await self._target.store.catalogue.add(EventType(**{name: getattr(known, name) for name in fields}))
                except EventTypeExists:
                    continue
            if after is None:
                return

    async def _copy_suppressions(self) -> None:
        old, new, cursor = self._source.store.suppressions, self._target.store.suppressions, None
        while True:
            page, cursor = await old.page(tenant=self._tenant, address=None, limit=500, cursor=cursor)
            fields = ("tenant", "address", "reason", "detail", "created_at")
            await new.add_reported([Suppression(**{name: getattr(one, name) for name in fields}) for one in page])
            if cursor is None:
                return

    async def _copy_schedules(self) -> None:
        """Pause the schedules, and make them in the new cell, paused as well."""
        async for listed in self._source.all("schedules", self._tenant):
            path = f"schedules/{listed['id']}"
            known = await self._source.call("GET", path, **self._query)  # lists can be late
            if not known["paused"]:
                note = f"Moving to {self._target.name} since {_seconds(utc_now())}. {known['note']}"[:250].strip()
                await self._source.call("POST", f"{path}/pause", **self._query, json={"note": note})
                known = await self._source.call("GET", path, **self._query)
            fields = {name: value for name, value in known.items() if name not in SHOWN_ONLY}
            fields["note"] = _after_latest(known)
            if await self._target.call("POST", "schedules", 409, json=fields) is None:
                changes = {name: value for name, value in fields.items() if name not in ("id", "tenant")}
                await self._target.call("PATCH", path, **self._query, json=changes)

    async def _begin_schedules(self) -> None:
        """Let the schedules that were paused for the move go on where they stopped, in the tenant's cell."""
        cell = self._target if self._place().cell == self._target.name else self._source
        async for listed in cell.all("schedules", self._tenant):
            path = f"schedules/{listed['id']}"
            note = (await cell.call("GET", path, **self._query))["note"]
            if not (paused := NOTE.fullmatch(note)):
                continue
            await cell.call("POST", f"{path}/resume", **self._query, json={"note": note})
            since, now = datetime.fromisoformat(paused["since"]), utc_now()
            while since < now:
                until = min(since + BACKFILL_AT_ONCE, now)
                times = {"since": rfc3339(since), "until": rfc3339(until)}
                await cell.call("POST", f"{path}/backfill", **self._query, json=times)
                since = until
            await cell.call("PATCH", path, **self._query, json={"note": paused["note"] or ""})

    # What the old cell still does

    async def _until_delivered(self, *, only_in_order: bool) -> None:
        """Wait until nothing of the tenant waits in the old cell. Outages of either cell are waited for as well."""
        told: object = None
        while True:
            try:
                await self._follow_changes()
                left = await self._source.rows.undelivered(self._tenant)
                if not left.in_line and (only_in_order or not (left.deliveries or await self._recovers())):
                    return
                news = f"{self._source.name} still has {left.deliveries} deliveries, {left.in_line} of them in order"
            except (MoveFailed, CellUnavailable, RegistryUnavailable) as error:
                news = f"waiting: {error}"
            if news != told:
                self._tell(news)
                told = news
            await asyncio.sleep(PAUSE)

    async def _recovers(self) -> bool:
        """Return whether a recovery in the old cell still makes deliveries."""
        return any(
            [each["status"] in ("running", "paused") async for each in self._source.all("recoveries", self._tenant)]
        )

    async def _follow_changes(self) -> None:
        """Let the old cell deliver with the settings that were changed in the new one since."""
        old, new = self._source.rows, self._target.rows
        if not self._has_left and (owned := await new.owned(self._tenant)) != await old.owned(self._tenant):
            await old.put_owned(self._tenant, owned)
        present = await new.versions(self._tenant)
        for webhook_id, version in (await old.versions(self._tenant)).items():
            if webhook_id not in present:
                await self._source.call("DELETE", f"webhooks/{webhook_id}", 404)
            elif present[webhook_id] > version:
                row = await new.webhook(webhook_id)
                waits = row["disabled_reason"] == MOVING
                await old.put_settings(row, ENABLING if waits else ())
                if row["paused_at"] is None and (row["enabled"] or waits):  # release what was held meanwhile
                    await self._source.call("POST", f"webhooks/{webhook_id}/resume", 404)

    async def _enable(self) -> None:
        """Let the new cell deliver what its ordered webhooks have held."""
        rows = self._target.rows
        for webhook_id in await rows.versions(self._tenant):
            if (await rows.webhook(webhook_id))["disabled_reason"] == MOVING:
                await self._target.call("PATCH", f"webhooks/{webhook_id}", 404, json={"enabled": True})

    async def _leave(self) -> None:
        """Let the old cell accept nothing more, and wait until requests that it has begun have ended."""
        await self._source.store.tenants.leave(self._tenant)
        self._has_left = True
        await asyncio.sleep(self._settle)

    async def _clear(self) -> None:
        """Remove from the old cell what could deliver there."""
        for webhook_id in await self._source.rows.versions(self._tenant):
            await self._source.call("DELETE", f"webhooks/{webhook_id}", 404)
        listed = [schedule["id"] async for schedule in self._source.all("schedules", self._tenant)]
        for schedule_id in listed:
            await self._source.call("DELETE", f"schedules/{schedule_id}", 404, **self._query)


def _seconds(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _after_latest(schedule: dict[str, Any]) -> str:
    """Return the note of a paused schedule; its time is after the latest event that the old cell has made."""
    if not (paused := NOTE.fullmatch(schedule["note"])):
        return str(schedule["note"])
    if schedule["recent"] is None:
        raise CellUnavailable(f"Temporal does not say what schedule {schedule['id']} has done last: move again later")
    made = [firing["time"] for firing in schedule["recent"] if firing["status"] != "refused"]
    latest = [datetime.fromisoformat(time) + SECOND for time in made]
    since = max([datetime.fromisoformat(paused["since"]), *latest])
    return f"Moving to {paused['cell']} since {_seconds(since)}. {paused['note'] or ''}".strip()
