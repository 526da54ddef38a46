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
    assert counted.startswith("1 event would be delivered again, counted from 20")
    begun = await ran(running_dev, "webhooks", "recover", webhook, "--since", "1h")
    recovery = begun.split()[0]
    await until_deliveries(running_dev, webhook, "succeeded", 1)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while "finished" not in (shown := await ran(running_dev, "recoveries", "show", recovery)):
            pass
    assert "done" in shown and webhook in shown
    assert "1 of 1" in await ran(running_dev, "recoveries", "list", "--tenant", tenant)
    over = await running_dev.run("recoveries", "cancel", recovery)
    assert (over.code, over.out) == (1, "") and "the recovery has ended" in over.err


async def test_what_a_filter_matches_is_acknowledged_or_retried(
    running_dev: processes.Dev, tenant: str, inbox: Receiver
) -> None:
    """Setup: two events have failed. Timeline: one is acknowledged, then all that failed are retried in bulk.
    Proves: without --yes it asks, with the count, and changes nothing.
    """
    inbox.fails(503, 503)
    options = ("--tenant", tenant, "--json")
    made = await ran(running_dev, "webhooks", "create", inbox.url, "--retry-schedule", "never", *options)
    webhook = json.loads(made)["id"]
    sent = [json.loads(await ran(running_dev, "send", "order.paid", *options))["id"] for _ in range(2)]
    await until_deliveries(running_dev, webhook, "failed", 2)
    known = await ran(running_dev, "events", "acknowledge", sent[0], "--tenant", tenant, "--note", "they move")
    assert known == "acknowledge: accepted\n"
    listed = json.loads(await ran(running_dev, "events", "list", "--acknowledged", *options))["items"]
    assert [(event["id"], event["acknowledged"]["note"]) for event in listed] == [(sent[0], "they move")]
    failed = ("events", "bulk", "retry", "--tenant", tenant, "--status", "failed", "--since", "1h")
    assert await ran(running_dev, *failed, "--dry-run") == "2 events would be changed\n"
    asked = await running_dev.run(*failed)
    assert asked.code == 2 and f"retry 2 events of tenant {tenant}?" in asked.err
    assert (await until_deliveries(running_dev, webhook, "failed", 2)) and len(inbox.requests) == 2
    begun = await ran(running_dev, *failed, "--yes")
    assert "recoveries show rec_" in begun
    await until_deliveries(running_dev, webhook, "succeeded", 2)
