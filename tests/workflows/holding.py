"""Helpers for tests of releases and recoveries: send many events, and compare the order in which they arrive."""

import asyncio
from typing import Any

from instances import Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT


async def send_many(instance: Instance, count: int, type_: str = "order.paid") -> list[str]:
    """Post this many events, one after the other; give their ids in this order."""
    return [(await instance.send(type_, data={"n": n}))["id"] for n in range(count)]


async def until_held(instance: Instance, webhook: str, count: int, seconds: float = WAIT_TIMEOUT) -> None:
    """Wait until the index has this many events that hold a delivery of the webhook."""
    async with asyncio.timeout(seconds):
        while await instance.store.index.count_held(webhook) != count:
            await asyncio.sleep(0.05)


async def until_listed(instance: Instance, webhook: str, status: str, count: int) -> list[dict[str, Any]]:
    """Wait until the webhook's list has this many deliveries of a status."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while len(items := await listed(instance, webhook, status)) != count:
            await asyncio.sleep(0.05)
    return items


async def listed(instance: Instance, webhook: str, status: str | None = None) -> list[dict[str, Any]]:
    query = {"status": status} if status else {}
    path = f"/v1/webhooks/{webhook}/deliveries"
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (answer := await instance.http.get(path, params=query)).status_code == 503:  # the machine is busy
            await asyncio.sleep(0.5)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]  # type: ignore[no-any-return]


def event_ids(inbox: Receiver) -> list[str]:
    return [request.webhook_id for request in inbox.requests]


def farthest(sent: list[str], got: list[str]) -> int:
    """Return by how many positions an event was out of order, at most."""
    return max(abs(n - sent.index(event_id)) for n, event_id in enumerate(got))
