"""The rows of the index of events, and the same rows derived from what the API shows of an event."""

import asyncio
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import create_async_engine

from hookkeeper.messages.run_report import BEGINNING
from hookkeeper.registry.events.rollup import COUNTERS
from hookkeeper.registry.events.tables import deliveries, event_keys, events, rollups
from hookkeeper.times import utc_now
from instances import Instance
from timeouts import WAIT_TIMEOUT


async def indexed(instance: Instance, event_id: str) -> dict[str, Any]:
    """Return what the index has of an event."""
    engine = create_async_engine(instance.settings.database_url)
    try:
        async with engine.connect() as connection:
            of_event = select(events).where(events.c.tenant == instance.tenant, events.c.id == event_id)
            event = (await connection.execute(of_event)).mappings().one_or_none()
            of_deliveries = select(deliveries).where(
                deliveries.c.tenant == instance.tenant, deliveries.c.event_id == event_id
            )
            rows = (await connection.execute(of_deliveries)).mappings().all()
    finally:
        await engine.dispose()
    return {
        "status": event["status"] if event else None,
        "type": event["type"] if event else None,
        "run_id": event["run_id"] if event else None,
        "deliveries": {
            row["id"]: (row["webhook_id"], row["status"], row["attempts"], row["status_code"], row["error"])
            for row in rows
        },
    }


def derived(event: dict[str, Any]) -> dict[str, Any]:
    """Return what the index should have of an event that the API shows."""
    return {
        "status": event["status"],
        "type": event["type"],
        "run_id": event["run_id"],
        "deliveries": {delivery["id"]: _delivery(delivery) for delivery in event["deliveries"]},
    }


def _delivery(delivery: dict[str, Any]) -> tuple[Any, ...]:
    latest = delivery["attempts"][-1] if delivery["attempts"] else {"status_code": None, "error": None}
    made = delivery["attempts_omitted"] + len(delivery["attempts"])
    return delivery["webhook_id"], delivery["status"], made, latest["status_code"], latest["error"]


async def until_indexed(instance: Instance, event_id: str) -> None:
    """Wait until the index agrees with the API."""
    found: dict[str, Any] = {}
    wanted: dict[str, Any] = {"status": ""}
    try:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while found != wanted:
                await asyncio.sleep(0.1)
                wanted = derived(await instance.event(event_id))
                found = await indexed(instance, event_id)
                if not found["run_id"]:  # its run has recorded nothing yet
                    wanted["run_id"] = found["run_id"]
    except TimeoutError:
        assert found == wanted


async def all_rows(instance: Instance) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of the tenant in the index, without counters that are zero again."""
    engine = create_async_engine(instance.settings.database_url)
    found = {}
    try:
        async with engine.connect() as connection:
            for table in (events, deliveries, event_keys, rollups):
                query = select(table).where(table.c.tenant == instance.tenant).order_by(*table.primary_key.columns)
                found[table.name] = [dict(row) for row in (await connection.execute(query)).mappings()]
    finally:
        await engine.dispose()
    found["rollups"] = [row for row in found["rollups"] if any(row[name] for name in COUNTERS)]
    return found


async def empty(instance: Instance) -> None:
    """Delete all rows of the index."""
    engine = create_async_engine(instance.settings.database_url)
    async with engine.begin() as connection:
        for table in (event_keys, events, deliveries, rollups):
            await connection.execute(delete(table))
    await engine.dispose()


async def forget(instance: Instance, event_id: str, *, delivery_status: str | None = None) -> None:
    """Remove an event from the index, or give its deliveries an older status: as if a report had been lost."""
    engine = create_async_engine(instance.settings.database_url)
    of_event = (deliveries.c.tenant == instance.tenant, deliveries.c.event_id == event_id)
    try:
        async with engine.begin() as connection:
            if delivery_status is None:
                await connection.execute(delete(deliveries).where(*of_event))
                await connection.execute(delete(events).where(events.c.id == event_id))
            else:
                older = {"status": delivery_status, "finished_at": None, "as_of": BEGINNING, "reason": None}
                await connection.execute(update(deliveries).where(*of_event).values(older))
                open_event = {"status": "delivering", "finished_at": None, "as_of": BEGINNING, "check_at": utc_now()}
                await connection.execute(update(events).where(events.c.id == event_id).values(open_event))
    finally:
        await engine.dispose()


async def set_time_of_rows(instance: Instance, event_id: str, as_of: datetime) -> None:
    """Let the rows of an event be of another time by Temporal's clock."""
    engine = create_async_engine(instance.settings.database_url)
    try:
        async with engine.begin() as connection:
            for table, column in ((events, events.c.id), (deliveries, deliveries.c.event_id)):
                await connection.execute(update(table).where(column == event_id).values(as_of=as_of))
    finally:
        await engine.dispose()
