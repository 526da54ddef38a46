"""The log of changes on both databases: what it has, in which order, and for how long."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from test_writing import ACCEPTED, HISTORY, attempt, delivery, report

from hookkeeper.registry.events import change_log
from hookkeeper.registry.events.change_log import END, Change, Position
from written_index import WrittenIndex

START = Position(0, END)


@pytest.fixture
def index(engine: AsyncEngine) -> WrittenIndex:
    return WrittenIndex(engine)


async def all_changes(index: WrittenIndex, after: Position = START, tenants: list[str] | None = None) -> list[Change]:
    changes, reached = await index.changes(after, end := (await index.change_log()).end, tenants)
    assert reached == end
    return changes


async def test_a_change_is_what_differs_visibly(index: WrittenIndex) -> None:
    for known in HISTORY:
        await index.write([known])
    await index.write(HISTORY)  # again, as when a record is repeated
    changes = await all_changes(index)
    assert [(change.is_new, change.deliveries) for change in changes] == [(True, ("wh_1",)), *[(False, ("wh_1",))] * 3]
    ((_, event),) = await index.changed_events(changes[-1:])
    assert (event.status, event.deliveries[0].status, event.deliveries[0].attempts) == ("succeeded", "succeeded", 3)


async def test_changes_of_a_write_have_positions_across_tenants(index: WrittenIndex) -> None:
    await index.write([report(1, tenant=tenant, id=id_) for tenant, id_ in (("b", "1"), ("a", "2"), ("b", "3"))])
    changes = await all_changes(index)
    assert [(change.key.tenant, change.position) for change in changes] == [
        ("a", Position(1, 0)),
        ("b", Position(1, 1)),
        ("b", Position(1, 2)),
    ]
    assert await all_changes(index, tenants=["b"]) == changes[1:]
    assert await all_changes(index, after=Position(1, 1)) == changes[2:]
    assert await all_changes(index, after=Position(1, 2)) == []


async def test_a_read_says_how_far_it_has_come(index: WrittenIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        await index.write([report(1, id=f"e{n}")])
    monkeypatch.setattr(change_log, "ROWS_PER_READ", 2)
    end, found, after = (await index.change_log()).end, [], START
    while after < end:
        changes, after = await index.changes(after, end, None)
        found += [change.key.event_id for change in changes]
    assert found == [f"e{n}" for n in range(5)]


async def test_writers_at_the_same_time_are_in_one_order(index: WrittenIndex) -> None:
    await asyncio.gather(*(index.write([report(1, id=f"e{n}")]) for n in range(10)))
    changes = await all_changes(index)
    assert [change.position.write for change in changes] == [*range(1, 11)]
    assert {change.key.event_id for change in changes} == {f"e{n}" for n in range(10)}


async def test_old_writes_are_forgotten(index: WrittenIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await index.change_log() == (START, START)
    monkeypatch.setattr(change_log, "KEPT_WRITES", 3)
    for n in range(5):
        await index.write([report(1, id=f"e{n}")])
    assert await index.change_log() == (Position(2, END), Position(5, END))
    assert [change.key.event_id for change in await all_changes(index)] == ["e2", "e3", "e4"]


async def test_an_erased_event_is_not_shown(index: WrittenIndex) -> None:
    await index.write([report(1, delivery("retrying", attempt(1, "timeout"))), report(1, id="evt_2")])
    await index.erase("acme", "evt_1")
    assert [event.id for _, event in await index.changed_events(await all_changes(index))] == ["evt_2"]
    await index.write([report(3, accepted_at=ACCEPTED + timedelta(days=1), id="evt_3")])
    assert [event.id for _, event in await index.changed_events(await all_changes(index))] == ["evt_2", "evt_3"]
