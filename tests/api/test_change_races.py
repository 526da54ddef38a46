"""Two requests change one webhook at the same time: neither may use what the other has replaced."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from hookkeeper.registry.webhooks.targets import lists_of
from instances import Instance, running_instance

OLD = "https://acme.example/hook"
OTHER = "https://attacker.example/hook"
HEADERS = {"authorization": "Bearer secret-of-acme"}
MASKED = {"authorization": "********"}
SERVICE = "https://api.acme.example/secret-path"
SLOW = "{% if event.data.a %}{{ event.data.b }}{% endif %}" * 450
"""A template that takes the sandbox long enough to read for another request to come between."""
SLOW_NOTES = [{"http": {"url": "https://slow.example/x", "body": SLOW}}] * 10


@pytest.fixture
async def instance(temporal: Client, tmp_path: Path, database_url: str) -> AsyncIterator[Instance]:
    (tmp_path / "data").mkdir()
    async with running_instance(temporal, tmp_path, database_url=database_url) as instance:
        yield instance


async def race(
    instance: Instance, path: str, slow: dict[str, Any], fast: dict[str, Any], delay: float
) -> tuple[int, int]:
    """Send a slow change and, while it is checked, a fast one; give the answers' statuses."""
    first = asyncio.create_task(instance.http.patch(path, json=slow))
    await asyncio.sleep(delay)
    second = await instance.http.patch(path, json=fast)
    return (await first).status_code, second.status_code


@pytest.mark.parametrize("delay", [0.02, 0.12])
async def test_a_secret_header_does_not_follow_a_url_that_changed_meanwhile(instance: Instance, delay: float) -> None:
    made = await instance.webhook(OLD, headers=HEADERS)
    slow = {"headers": MASKED, "notifications": SLOW_NOTES}
    slow_status, fast_status = await race(
        instance, f"/v1/webhooks/{made['id']}", slow, {"url": OTHER, "headers": {}}, delay
    )
    stored = await instance.store.webhooks.get(made["id"])
    assert stored is not None
    assert (stored.url, stored.headers) != (OTHER, HEADERS), "the secret went to another host"
    assert (slow_status, fast_status) in {(200, 200), (422, 200), (200, 409), (409, 200)}


@pytest.mark.parametrize("delay", [0.02, 0.12])
async def test_a_change_of_one_part_does_not_restore_another(instance: Instance, delay: float) -> None:
    """Both changes count, in the order in which they were written."""
    made = await instance.webhook(OLD, headers=HEADERS, notifications=[{"http": {"url": SERVICE}}])
    slow = {"emails": [{"to": ["ann@acme.example"], "text": SLOW}] * 10}
    statuses = await race(instance, f"/v1/webhooks/{made['id']}", slow, {"name": "changed meanwhile"}, delay)
    assert statuses == (200, 200)
    stored = await instance.store.webhooks.get(made["id"])
    assert stored is not None
    lists = lists_of(stored)
    assert (stored.name, len(lists["emails"]), stored.headers) == ("changed meanwhile", 10, HEADERS)
    assert [notification.http.url for notification in lists["notifications"] if notification.http] == [SERVICE]


async def test_a_change_of_a_webhook_that_changes_all_the_time_is_a_conflict(instance: Instance) -> None:
    """After a few checks the caller gets an error, and nothing of the change is written."""
    made = await instance.webhook(OLD)
    path = f"/v1/webhooks/{made['id']}"
    is_over = asyncio.Event()

    async def keep_changing() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            assert (await instance.http.patch(path, json={"description": f"number {number}"})).status_code in (200, 409)

    changing = asyncio.create_task(keep_changing())
    try:
        answer = await instance.http.patch(path, json={"notifications": SLOW_NOTES, "name": "slow"})
    finally:
        is_over.set()
        await changing
    stored = await instance.store.webhooks.get(made["id"])
    assert stored is not None
    if answer.status_code == 409:
        assert "changed at the same time" in answer.json()["detail"]
    else:
        assert answer.status_code == 200
    assert (stored.name == "slow") is (answer.status_code == 200)
