"""Visibility is walked oldest first, in slices, and nothing is left out between two of them."""

import asyncio
from datetime import UTC, datetime, timedelta

from house import House
from patience import PATIENCE
from workflows import names, walking


async def test_slices_are_in_order_and_whole(idle_house: House) -> None:
    home = idle_house
    sent = [(await home.send())["id"] for _ in range(12)]
    query = f"{walking.RUNS_OF_EVENTS} AND {names.TENANT.name} = '{home.tenant}'"
    until = datetime.now(UTC) + timedelta(hours=1)
    async with asyncio.timeout(PATIENCE):
        while await walking.count_runs(home.temporal, query) < len(sent):
            await asyncio.sleep(0.05)
    met, after, slices = list[str](), walking.BEGINNING, 0
    while True:
        part = await walking.oldest(home.temporal, query, after, until, at_most=5)
        assert len(part.found) <= 5
        met += [names.event_of(run.workflow_id)[1] for run in part.found]
        slices += 1
        if part.end is None:
            break
        after = part.end
    assert met == sent
    assert slices >= 3


async def test_nothing_is_an_empty_slice(idle_house: House) -> None:
    query = f"{walking.RUNS_OF_EVENTS} AND {names.TENANT.name} = '{idle_house.tenant}'"
    now = datetime.now(UTC)
    for since in (walking.BEGINNING, now, now + timedelta(days=1)):
        assert await walking.oldest(idle_house.temporal, query, since, now, 5) == walking.Slice([], None)
