"""The rows of the index of events, and the same rows derived from what the API shows of an event."""

import asyncio
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine

from hookkeeper.registry.index.tables import deliveries, events
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
    except TimeoutError:
        assert found == wanted
