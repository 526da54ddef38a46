"""Firings of schedules: a tenant's never take all slots of a worker, and each waits for its key's rate."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.scheduled_event import RATE_TIMEOUT, ScheduledEventActivities
from activities.tenant_concurrency import TenantConcurrency
from hookkeeper.error_types import EVENT_REFUSED, TENANT_AT_LIMIT
from hookkeeper.messages.schedule import EventReference, ScheduledEvent
from hookkeeper.services.errors import RateLimited
from hookkeeper.services.events.scheduled_ingest import ScheduledEventIngest
from hookkeeper.temporal.gateway import Gateway

NOW = datetime.now(UTC)


class Hanging(Gateway, ScheduledEventIngest):
    """Events whose acceptance and delivery last until the test is over."""

    def __init__(self) -> None:
        self.tenants: list[str] = []

    async def accept(self, event: ScheduledEvent) -> None:
        await self._hang(event.tenant)

    async def is_closed_within(self, tenant: str, event_id: str, seconds: float) -> bool:
        await self._hang(tenant)
        return False

    async def cancel_if_open(self, tenant: str, event_id: str) -> None:
        raise AssertionError("nothing is cancelled here")

    async def _hang(self, tenant: str) -> None:
        self.tenants.append(tenant)
        await asyncio.Event().wait()


class Full(Hanging):
    """An ingest whose rate is exceeded."""

    async def accept(self, event: ScheduledEvent) -> None:
        raise RateLimited("no room", 5.0)


def firing(tenant: str) -> ScheduledEvent:
    return ScheduledEvent(event_id="daily-1", type="report.due", tenant=tenant, timestamp=NOW)


@pytest.mark.parametrize("step", ["accept_scheduled_event", "await_delivery"])
async def test_a_tenant_with_many_firings_leaves_slots_for_others(step: str) -> None:
    hanging = Hanging()
    activities = ScheduledEventActivities(hanging, hanging, TenantConcurrency(4, 2))

    def start(tenant: str) -> asyncio.Task[None]:
        argument = (
            firing(tenant) if step == "accept_scheduled_event" else EventReference(event_id="daily-1", tenant=tenant)
        )
        return asyncio.create_task(ActivityEnvironment().run(getattr(activities, step), argument))

    tasks = [start("a") for _ in range(3)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    (refused,) = done
    error = refused.exception()
    assert isinstance(error, ApplicationError)
    assert error.type == TENANT_AT_LIMIT
    tasks.append(start("b"))
    while "b" not in hanging.tenants:
        await asyncio.sleep(0.01)
    assert hanging.tenants == ["a", "a", "b"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("waited", "type_"),
    [(None, "RateExceeded"), (timedelta(0), "RateExceeded"), (RATE_TIMEOUT * 2, EVENT_REFUSED)],
    ids=["first try", "soon after", "two minutes"],
)
async def test_the_wait_for_the_rate_begins_when_the_rate_is_exceeded(waited: timedelta | None, type_: str) -> None:
    """It began when the event was due: after an hour without a worker, events were refused at their first try."""
    activities = ScheduledEventActivities(Full(), Full(), TenantConcurrency(4, 2))
    known = [] if waited is None else [(datetime.now(UTC) - waited).isoformat()]
    environment = ActivityEnvironment()
    environment.info = replace(
        environment.info, scheduled_time=datetime.now(UTC) - timedelta(hours=1), heartbeat_details=known
    )
    heartbeats: list[Any] = []
    environment.on_heartbeat = heartbeats.append
    with pytest.raises(ApplicationError) as raised:
        await environment.run(activities.accept_scheduled_event, firing("a"))
    assert raised.value.type == type_
    assert len(heartbeats) == 1
    assert not known or heartbeats == known
