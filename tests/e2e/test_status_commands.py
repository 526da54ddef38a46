"""`hookkeeper status` and `hookkeeper explain`: what is wrong, why, and the command that helps."""

import asyncio
import json
from pathlib import Path

import processes
import pytest

from receivers import Receiver
from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]


async def run(dev: processes.Dev, *args: str, code: int = 0) -> str:
    done = await dev.run(*args)
    assert (done.code, done.err) == (code, ""), done
    return done.out


@pytest.mark.promise("docs/command-line.md")
async def test_from_the_fault_to_the_cure(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    """Timeline: a receiver fails, a filter fails, a typo in a type; then both are mended, and what waits is sent.
    Proves: each is named with its cause and a remedy within 80 columns, and the exit code says whether all is well.
    """
    dev, of_tenant = running_dev, ("--tenant", tenant)
    assert await run(dev, "status", *of_tenant) == "All is well: no webhook fails, and nothing waits.\n"
    inbox.fails(*[503] * 2)
    made = ("webhooks", "create", *of_tenant, "--events", "order.paid")
    slow = ("--retry-schedule", "0s, 1h", "--alert-after-attempts", "1")
    await run(dev, *made, inbox.url, "--uid", f"orders-{tenant}", "--name", f"Orders {tenant}", *slow)
    await run(dev, *made, inbox.url, "--name", f"Filtered {tenant}", "--filter", "event.data.missing > 1")
    sent = json.loads(await run(dev, "send", "order.paid", *of_tenant, "--json", "--no-follow"))
    lost = json.loads(await run(dev, "send", "order.piad", *of_tenant, "--json", "--no-follow"))
    async with asyncio.timeout(WAIT_TIMEOUT):
        while "2 webhooks are failing, 1 delivery waits" not in (done := await dev.run("status", *of_tenant)).out:
            await asyncio.sleep(0.2)
    assert done.code == 1
    assert max(map(len, done.out.splitlines())) <= 80
    for words in ("The receiver's proxy cannot reach it: 503", f"hookkeeper webhooks retry orders-{tenant}", "missing"):
        assert words in done.out
    found = json.loads(await run(dev, "status", *of_tenant, "--json", code=1))
    assert (found["well"], len(found["webhooks"]["failing"]), found["waiting"]["retrying"]) == (False, 2, 1)

    event = await run(dev, "explain", sent["id"], *of_tenant)
    assert f"Filtered {tenant} did not get it" in event and "missing" in event
    assert "The next attempt is" in event and f"hookkeeper events retry {sent['id']}" in event
    assert "No webhook of its tenant gets events of its type" in await run(dev, "explain", lost["id"], *of_tenant)
    assert "The receiver's proxy cannot reach it: 503" in await run(dev, "explain", f"Orders {tenant}")
    assert "there is neither" in (await dev.run("explain", "nothing")).err

    started = await run(dev, "webhooks", "retry", f"orders-{tenant}")
    assert "hookkeeper recoveries show" in started
    await run(dev, "webhooks", "update", f"Filtered {tenant}", "--filter", "")
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (done := await dev.run("status", *of_tenant)).code:
            await asyncio.sleep(0.2)
    assert "delivery waits" not in done.out
    assert "succeeded" in await run(dev, "explain", sent["id"], *of_tenant)


async def test_the_server_examines_itself(running_dev: processes.Dev, tmp_path: Path) -> None:
    """Setup: only the address of a server and a key. Proves: its findings are shown, and a customer's key has none."""

    async def doctor(key: str) -> processes.Done:
        named = {"HOOKKEEPER_URL": running_dev.url, "HOOKKEEPER_API_KEY": key}
        return await processes.hookkeeper("doctor", "--json", cwd=tmp_path, settings=named)

    done = await doctor(running_dev.key)
    report = json.loads(done.out)
    assert done.code == {"well": 0, "wrong": 1, "warning": 3}[report["status"]]
    assert {"temporal", "registry", "workers"} <= {finding["check"] for finding in report["findings"]}
    customer = await running_dev.http.post("/v1/keys", json={"name": "c", "tenant": "acme", "scopes": ["events:read"]})
    refused = await doctor(customer.json()["key"])
    assert (refused.code, refused.out) == (1, "") and "403" in refused.err
