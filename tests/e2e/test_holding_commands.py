"""Pause, resume and recover on the command line."""

import asyncio
import json
from typing import Any

import processes

from receivers import Receiver
from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]


async def ran(dev: processes.Dev, *args: str) -> str:
    done = await dev.run(*args)
    assert (done.code, done.err) == (0, ""), done
    return done.out


async def until_deliveries(dev: processes.Dev, webhook: str, status: str, count: int) -> list[Any]:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            page = json.loads(await ran(dev, "webhooks", "deliveries", webhook, "--status", status, "--json"))
            if len(page["items"]) == count:
                return page["items"]  # type: ignore[no-any-return]


async def test_from_a_pause_to_a_recovery(running_dev: processes.Dev, tenant: str, inbox: Receiver) -> None:
    """Setup: `dev` and a webhook that takes one attempt.
    Timeline: paused, an event, resumed; the event fails; the receiver works again, and the webhook is recovered.
    Proves: each command does what it says.
    """
    inbox.fails(503)
    made = await ran(
        running_dev, "webhooks", "create", inbox.url, "--tenant", tenant, "--retry-schedule", "never", "--json"
    )
    webhook = json.loads(made)["id"]
    assert f"{webhook} is paused since 20" in await ran(running_dev, "webhooks", "pause", webhook)
    await ran(running_dev, "send", "order.paid", "--tenant", tenant)
    (held,) = await until_deliveries(running_dev, webhook, "held", 1)
    assert held["type"] == "order.paid"
    assert await ran(running_dev, "webhooks", "resume", webhook) == f"{webhook} is resumed\n"
    await until_deliveries(running_dev, webhook, "failed", 1)
    counted = await ran(running_dev, "webhooks", "recover", webhook, "--since", "1h", "--dry-run")
    assert counted == "1 event would be delivered again\n"
    begun = await ran(running_dev, "webhooks", "recover", webhook, "--since", "1h")
    recovery = begun.split()[0]
    await until_deliveries(running_dev, webhook, "succeeded", 1)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while "finished" not in (shown := await ran(running_dev, "recoveries", "show", recovery)):
            pass
    assert "redelivered" in shown and webhook in shown
    assert "1 of 1" in await ran(running_dev, "recoveries", "list", "--tenant", tenant)
    over = await running_dev.run("recoveries", "cancel", recovery)
    assert (over.code, over.out) == (1, "") and "the recovery has ended" in over.err
