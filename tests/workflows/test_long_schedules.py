"""Runs that last for days: Temporal's time-skipping server, a real worker, real receivers."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.testservice.v1 import LockTimeSkippingRequest, UnlockTimeSkippingRequest
from temporalio.client import WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from conftest import binary
from hookkeeper import temporal_names
from hookkeeper.policy import DAY, DEFAULT_SCHEDULE
from hookkeeper.temporal.server.data_converter import data_converter
from hookkeeper.temporal.server.namespace import VALUE_TYPES
from instances import Instance, running_instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT


@pytest.fixture
async def time_machine(tmp_path: Path) -> AsyncIterator[tuple[Instance, WorkflowEnvironment]]:
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=binary("temporal-test-server"), data_converter=data_converter()
    )
    await environment.client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=environment.client.namespace,
            search_attributes={name: VALUE_TYPES[type_] for name, type_ in temporal_names.SEARCH_ATTRIBUTES.items()},
        )
    )
    async with environment, running_instance(environment.client, tmp_path) as built, built.working():
        yield built, environment
    await asyncio.sleep(0.05)


async def finished(instance: Instance, environment: WorkflowEnvironment, event_id: str) -> dict[str, Any]:
    """Skip time until the event is final. The run is not queried meanwhile: see docs/internals/temporal.md."""
    clock = environment.client.test_service
    await clock.unlock_time_skipping(UnlockTimeSkippingRequest())
    try:
        async with asyncio.timeout(WAIT_TIMEOUT):
            await instance.run(event_id).result()
    except WorkflowFailureError:
        pass  # what it came to is read by its tests
    finally:
        await clock.lock_time_skipping(LockTimeSkippingRequest())
    return await instance.until_final(event_id)


def seconds_taken(event: dict[str, Any]) -> float:
    """Return the seconds from acceptance to the end, by the clock that flew."""
    return (datetime.fromisoformat(event["finished_at"]) - datetime.fromisoformat(event["accepted_at"])).total_seconds()


async def test_the_default_schedule_takes_about_three_days(
    time_machine: tuple[Instance, WorkflowEnvironment], inbox: Receiver
) -> None:
    instance, environment = time_machine
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url)
    accepted = await instance.send()
    event = await finished(instance, environment, accepted["id"])
    took = seconds_taken(event)
    assert sum(DEFAULT_SCHEDULE) <= took <= 1.1 * sum(DEFAULT_SCHEDULE) + 60
    assert (event["status"], event["deliveries"][0]["reason"]) == ("failed", "exhausted")
    assert len(inbox.requests) == 10


async def test_retry_after_delays_the_next_attempt(
    time_machine: tuple[Instance, WorkflowEnvironment], inbox: Receiver
) -> None:
    instance, environment = time_machine
    inbox.answers = [Answer(503, headers={"retry-after": "7200"}), Answer(429)]
    await instance.webhook(inbox.url, retry={"schedule": [1, 1]})
    accepted = await instance.send()
    event = await finished(instance, environment, accepted["id"])
    assert 7200 <= seconds_taken(event) <= 7300
    assert len(inbox.requests) == 3


async def test_a_run_with_a_long_history_continues_as_a_new_run(
    time_machine: tuple[Instance, WorkflowEnvironment], inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal ends a run at 51,200 events; long before that, it goes on under the same id with all it knows."""
    monkeypatch.setattr("workflows.event.MAX_HISTORY_EVENTS", 60)
    instance, environment = time_machine
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry={"schedule": [DAY / 24] * 14})
    accepted = await instance.send()
    event = await finished(instance, environment, accepted["id"])
    assert event["run_id"] != accepted["run_id"]
    attempts = event["deliveries"][0]["attempts"]
    assert [attempt["number"] for attempt in attempts] == list(range(1, 16))
    assert {attempt["trigger"] for attempt in attempts} == {"scheduled"}
    assert len(inbox.requests) == 15
    assert event["data"] == {}
    assert (await instance.send(id=accepted["id"]))["duplicate"] is True
    assert all(a.at <= b.at for a, b in pairwise(inbox.requests))
