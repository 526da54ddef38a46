"""`hookkeeper forward`, in processes of their own: the program's answers are the outcomes of attempts."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import processes
import pytest
from standardwebhooks import Webhook

from receivers import Answer, Receiver

pytestmark = pytest.mark.processes

pytest_plugins = ["dev_fixtures"]


@asynccontextmanager
async def forwarding(
    dev: processes.Dev, tenant: str, target: str, *args: str, cwd: Path | None = None
) -> AsyncIterator[processes.Process]:
    """Forward until the block ends, which deletes the webhook.

    Only with a `dev`: beside other API processes, an attempt may have to be repeated.
    """
    assert dev.process
    command = ("forward", target, "--tenant", tenant, "--json", *args)
    async with processes.process(*command, cwd=cwd or dev.folder) as process:
        await process.says("Waiting for deliveries")
        yield process
        assert await process.stop(signal.SIGTERM) == 0
    assert (await webhooks(dev, tenant)) == []


async def webhooks(dev: processes.Dev, tenant: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await dev.http.get("/v1/webhooks", params={"tenant": tenant})).json()["items"]
    return items


async def printed(process: processes.Process, count: int) -> list[dict[str, Any]]:
    await processes.until(lambda: len(process.out.read_text().splitlines()) >= count)
    return [json.loads(line) for line in process.out.read_text().splitlines()]


async def test_answers_of_the_program_are_outcomes_of_attempts(
    running_dev: processes.Dev, tenant: str, inbox: Receiver
) -> None:
    """Timeline: an event that is delivered; one of another type; one that fails; a program that is away."""
    inbox.answers = [Answer(200, "first"), Answer(422, "no such order", {"retry-after": "3600"})]
    async with forwarding(running_dev, tenant, inbox.url, "--events", "order.*") as process:
        (webhook,) = await webhooks(running_dev, tenant)
        assert webhook["events"] == ["order.*"]
        event = await running_dev.until((await running_dev.send(tenant, data={"text": "é"}))["id"], tenant)
        (attempt,) = event["deliveries"][0]["attempts"]
        assert (event["status"], attempt["status_code"], attempt["response_excerpt"]) == ("succeeded", 200, "first")
        (request,) = inbox.requests
        secret = (await running_dev.http.get(f"/v1/webhooks/{webhook['id']}/secret")).json()["secret"]
        assert Webhook(secret).verify(request.body, request.headers)["data"] == {"text": "é"}

        other = await running_dev.send(tenant, type="user.added")
        assert other["deliveries"] == []

        failing = await running_dev.send(tenant)
        event = await running_dev.until_delivery(failing["id"], tenant, "retrying", attempts=1)
        (attempt,) = event["deliveries"][0]["attempts"]
        assert (attempt["status_code"], attempt["response_excerpt"]) == (422, "no such order")
        lines = await printed(process, 2)
        assert [(line["status"], line["event_id"], line["note"]) for line in lines][1] == (422, failing["id"], "")

    async with forwarding(running_dev, tenant, "http://127.0.0.1:1/hook") as process:
        failing = await running_dev.send(tenant)
        event = await running_dev.until_delivery(failing["id"], tenant, "retrying", attempts=1)
        (attempt,) = event["deliveries"][0]["attempts"]
        assert attempt["status_code"] == 502
        assert "cannot reach http://127.0.0.1:1/hook" in attempt["response_excerpt"]


async def test_keys_of_the_screen_send_again_and_quit(running_dev: processes.Dev, tenant: str, inbox: Receiver) -> None:
    assert running_dev.process
    terminal, ours = pty.openpty()
    listening = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hookkeeper", "forward", inbox.url, "--tenant", tenant),
        cwd=running_dev.folder,
        env=processes.environment({"TERM": "xterm"}),
        stdin=ours,
        stdout=ours,
        stderr=ours,
    )
    os.close(ours)
    shown = bytearray()
    loop = asyncio.get_running_loop()
    loop.add_reader(terminal, lambda: shown.extend(os.read(terminal, 65536)))
    try:
        await processes.until(lambda: b"Waiting for deliveries" in shown)
        event = await running_dev.send(tenant)
        await processes.until(lambda: event["id"].encode() in shown)
        os.write(terminal, b"\x1b[Br")
        await processes.until(lambda: b"sent again: no attempt" in shown)
        assert [request.webhook_id for request in inbox.requests] == [event["id"]] * 2
        assert len((await running_dev.event(event["id"], tenant))["deliveries"][0]["attempts"]) == 1
        loop.remove_reader(terminal)
        os.write(terminal, b"q")
        assert await listening.wait() == 0
    finally:
        loop.remove_reader(terminal)
        if listening.returncode is None:
            listening.kill()
            await listening.wait()
        os.close(terminal)
    assert await webhooks(running_dev, tenant) == []


async def test_the_same_webhook_goes_on_after_a_restart_of_the_api(tmp_path: Path, inbox: Receiver) -> None:
    ports, tenant = processes.free_ports(), "acme"
    async with processes.dev(tmp_path, ports) as dev:
        command = ("forward", inbox.url, "--tenant", tenant, "--json")
        async with processes.process(*command, cwd=tmp_path) as process:
            await process.says("Waiting for deliveries")
            first = await dev.send(tenant)
            await dev.until(first["id"], tenant)
            before = await webhooks(dev, tenant)
            assert await dev.process.stop() == 0
            await process.says("Trying again")
            async with processes.dev(tmp_path, ports) as again:
                await process.says("Connected again")
                second = await again.send(tenant)
                event = await again.until(second["id"], tenant)
                assert event["status"] == "succeeded"
                assert [webhook["id"] for webhook in await webhooks(again, tenant)] == [before[0]["id"]]
                assert [request.webhook_id for request in inbox.requests] == [first["id"], second["id"]]
                assert await process.stop(signal.SIGINT) == 0
                assert await webhooks(again, tenant) == []


async def test_trigger_sends_the_example_of_a_type(running_dev: processes.Dev, tenant: str) -> None:
    type_ = f"{tenant}.made"
    await running_dev.http.post("/v1/event-types", json={"name": type_, "examples": [{"n": 1}, {"n": 2}]})
    done = await running_dev.run("trigger", type_, "--example", "2", "--tenant", tenant, "--json")
    assert done.code == 0, done
    event = await running_dev.event(json.loads(done.out)["id"], tenant)
    assert (event["type"], event["data"]) == (type_, {"n": 2})
    done = await running_dev.run("trigger", type_, "--example", "3", "--tenant", tenant)
    assert (done.code, "2 examples" in done.err) == (1, True), done


async def test_only_a_signed_request_is_verified(tmp_path: Path) -> None:
    secret, other = "whsec_" + "YWJj" * 8, "whsec_" + "eHl6" * 8
    (tmp_path / "body").write_bytes(b'{"n": 1}\n')
    signed = await processes.hookkeeper("sign", "@body", "--secret", secret, "--id", "evt_1", cwd=tmp_path)
    assert signed.code == 0, signed
    headers = [word for line in signed.out.splitlines() for word in ("--header", line)]
    for args, stdin, code, reason in (
        (("-", "--secret", other, "--secret", secret), '{"n": 1}\n', 0, "signature verified"),
        (("-", "--secret", secret), '{"n": 1}', 1, "wrong signature"),
        (("@body", "--secret", other), "", 1, "wrong signature"),
        (("@body", "--secret", secret, "--header", "webhook-timestamp: 1"), "", 1, "s off"),
    ):
        done = await processes.hookkeeper("verify", *args[:3], *headers, *args[3:], cwd=tmp_path, stdin=stdin)
        assert (done.code, reason in done.out + done.err) == (code, True), done
    done = await processes.hookkeeper("verify", "@body", "--secret", secret, *headers[:2], cwd=tmp_path)
    assert (done.code, "webhook-timestamp is missing" in done.err) == (1, True), done
