"""With a limit of the backlog, events are refused instead of being accepted late."""

import asyncio
from pathlib import Path

import pytest
from problems import problem
from temporalio.client import Client

from api import limits
from instances import running_instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

EVENTS = 12


async def test_events_are_refused_while_too_many_tasks_wait(
    temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CACHE_TIME", 0.0)
    async with running_instance(temporal, tmp_path, max_backlog=EVENTS - 2) as instance:
        await instance.webhook(inbox.url)
        body = {"type": "order.paid", "tenant": instance.tenant}
        accepted = [await instance.send() for _ in range(EVENTS)]
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (answer := await instance.http.post("/v1/events", json=body)).status_code == 202:
                accepted.append(answer.json())
                await asyncio.sleep(0.1)  # Temporal counts late: events that come meanwhile prove no more
        problem(answer, 429)
        assert answer.headers["retry-after"] == "5"
        problem(await instance.http.post("/v1/events/batch", json={"events": [body]}), 429)

        async with instance.working():
            for event in accepted:
                assert (await instance.until_final(event["id"]))["status"] == "succeeded"
            async with asyncio.timeout(WAIT_TIMEOUT):
                while (answer := await instance.http.post("/v1/events", json=body)).status_code == 429:
                    await asyncio.sleep(0.1)
            assert answer.status_code == 202


async def test_the_backlog_has_no_limit_by_default(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path) as instance:
        assert instance.settings.max_backlog is None
        for _ in range(EVENTS):
            await instance.send()
