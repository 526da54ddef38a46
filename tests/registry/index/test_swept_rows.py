"""What the sweep reads of the index: the rows of events, and open events in the order of their checks."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import BEGINNING, EventProgress, RunReport
from hookkeeper.registry.database import Database
from hookkeeper.registry.index.index import EventIndex
from hookkeeper.registry.index.merge import CHECK_DELAY, EventKey

pytestmark = pytest.mark.usefixtures("patient_registry")

ACCEPTED = datetime(2026, 1, 2, 9, 30, 15, 250_000, UTC)
LATER = ACCEPTED + timedelta(hours=1)
KEY = EventKey(ACCEPTED, "acme", "evt_1")
PENDING = Delivery(id="wh_1", webhook_id="wh_1")


def opened(event_id: str, *deliveries: Delivery, seconds: float = 0) -> RunReport:
    """Return the API's report of an event that was accepted so many seconds later."""
    progress = EventProgress("delivering", False, None, f"run-of-{event_id}", "abc", size=17)
    accepted_at = ACCEPTED + timedelta(seconds=seconds)
    return RunReport("acme", event_id, "order.paid", accepted_at, BEGINNING, progress, deliveries or (PENDING,))


def waiting(webhook: str, until: datetime, attempts: int = 1) -> Delivery:
    """Return a delivery that will be attempted again."""
    made = tuple(Attempt(number=n, started_at=ACCEPTED, duration_ms=1, error="timeout") for n in range(1, attempts + 1))
    return Delivery(id=webhook, webhook_id=webhook, status="retrying", attempts=made, next_attempt_at=until)


async def test_the_open_event_that_is_due_first_comes_first(engine: AsyncEngine) -> None:
    index = EventIndex(Database(engine))
    await index.write([opened(f"evt_{n}", seconds=n) for n in (3, 1, 2)])
    found = await index.swept_rows.open_events(2)
    assert [event.key.event_id for event in found] == ["evt_1", "evt_2"]

    await index.swept_rows.check_at({found[0].key: ACCEPTED + timedelta(days=1)})
    assert [event.key.event_id for event in await index.swept_rows.open_events(3)] == ["evt_2", "evt_3", "evt_1"]

    await index.write([opened("evt_2", seconds=2)._replace(as_of=ACCEPTED, finished_at=ACCEPTED)])
    assert [event.key.event_id for event in await index.swept_rows.open_events(3)] == ["evt_3", "evt_1"]


async def test_the_open_events_of_a_tenant_that_are_due(engine: AsyncEngine) -> None:
    index = EventIndex(Database(engine))
    of_other = opened("evt_9")._replace(tenant="globex")
    await index.write([of_other, *(opened(f"evt_{n}", seconds=n) for n in (1, 2))])
    due = ACCEPTED + CHECK_DELAY + timedelta(seconds=1)
    found = await index.swept_rows.open_events(10, "acme", due)
    assert [event.key.event_id for event in found] == ["evt_1"]
    assert await index.swept_rows.open_events(10, "acme", ACCEPTED) == []


async def test_an_event_that_was_redelivered_is_open_again(engine: AsyncEngine) -> None:
    index = EventIndex(Database(engine))
    await index.write([opened("evt_1")._replace(as_of=ACCEPTED, finished_at=ACCEPTED)])
    assert await index.swept_rows.open_events(10) == []
    await index.write([opened("evt_1")._replace(as_of=LATER)])
    assert [event.key for event in await index.swept_rows.open_events(10)] == [KEY]


async def test_the_next_time_of_an_event_is_that_of_its_first_delivery(engine: AsyncEngine) -> None:
    index, latest = EventIndex(Database(engine)), LATER + timedelta(hours=1)
    await index.write([opened("evt_1", waiting("wh_1", latest), waiting("wh_2", LATER), PENDING)])
    scheduled = opened("evt_2")
    assert scheduled.progress
    scheduled = scheduled._replace(progress=scheduled.progress._replace(status="scheduled", deliver_at=latest))
    await index.write([scheduled, opened("evt_3")])
    keys = [EventKey(ACCEPTED, "acme", f"evt_{n}") for n in (1, 2, 3)]
    assert await index.swept_rows.next_times(keys) == {keys[0]: LATER, keys[1]: latest}


async def test_counted_attempts(engine: AsyncEngine) -> None:
    index = EventIndex(Database(engine))
    await index.write([opened("evt_1", waiting("wh_2", LATER, attempts=2), PENDING)])
    assert await index.swept_rows.attempts(KEY) == {"wh_1": 0, "wh_2": 2}


async def test_events(engine: AsyncEngine) -> None:
    index = EventIndex(Database(engine))
    await index.write([opened(f"evt_{n}", seconds=n) for n in range(1200)])
    keys = {EventKey(ACCEPTED + timedelta(seconds=n), "acme", f"evt_{n}") for n in range(1300)}
    found = await index.swept_rows.events(keys)
    assert len(found) == 1200
    assert found[KEY._replace(event_id="evt_0")].run_id == "run-of-evt_0"


async def test_an_event_that_temporal_has_no_more_is_removed(engine: AsyncEngine) -> None:
    index = EventIndex(Database(engine))
    await index.write([opened("evt_1"), opened("evt_2")])
    await index.swept_rows.remove(KEY)
    assert set(await index.swept_rows.events({KEY, KEY._replace(event_id="evt_2")})) == {KEY._replace(event_id="evt_2")}
    assert await index.swept_rows.attempts(KEY) == {}
