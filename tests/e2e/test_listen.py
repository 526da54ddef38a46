"""`hookkeeper listen`: a receiver that verifies what it gets, with the keys that it asks the API for."""

import json
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import stage

from hookkeeper.crypto.signing_keys import new_secret, public_key
from hookkeeper.egress.signing import sign

pytest_plugins = ["devs"]


@dataclass
class Listener:
    process: stage.Process
    url: str

    async def got(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many requests; give them as it printed them."""
        await stage.until(lambda: len(self.process.out.read_text().splitlines()) >= count)
        return [json.loads(line) for line in self.process.out.read_text().splitlines()]


@asynccontextmanager
async def listening(*args: str, cwd: Path, settings: stage.Settings = stage.NOTHING) -> AsyncIterator[Listener]:
    async with stage.process("listen", "--port", "0", "--json", *args, cwd=cwd, settings=settings) as process:
        said = await process.says("Ctrl-C")
        address = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert address
        yield Listener(process, address[0])
        assert await process.stop(signal.SIGINT) == 0


async def post(url: str, secret: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """Send a signed request, as a delivery would be."""
    stamp, body = int(time.time()), b'{"n":1}'
    signed = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign([secret], message_id="evt_1", timestamp=stamp, body=body),
    }
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(url, content=body, headers=signed | (headers or {}))


async def test_verifies_with_keys_that_it_asks_for(running_dev: stage.Dev, tenant: str) -> None:
    async with listening("--fail", "1", "--status", "204", "--delay", "0.3", cwd=running_dev.folder) as listener:
        hooks = [
            await running_dev.webhook(listener.url, tenant, retry={"schedule": [0]}, signature_scheme=scheme)
            for scheme in ("v1", "v1a")
        ]
        accepted = await running_dev.send(tenant, data={"text": "[bold]é"})
        event = await running_dev.until(accepted["id"], tenant)
        printed = await listener.got(3)

        assert sorted(each["status"] for each in printed) == [204, 204, 503]
        assert sorted(each["number"] for each in printed) == [1, 2, 3], "in the order of their answers"
        assert {each["verified"] for each in printed} == {True}
        assert {each["webhook_id"] for each in printed} == {event["id"]}
        assert {json.loads(each["body"])["data"]["text"] for each in printed} == {"[bold]é"}
        attempts = [attempt for each in event["deliveries"] for attempt in each["attempts"]]
        assert all(attempt["duration_ms"] >= 300 for attempt in attempts)

        rotated = await running_dev.http.post(f"/v1/webhooks/{hooks[0]['id']}/rotate-secret", json={"grace": 0})
        assert (await post(listener.url, rotated.json()["secret"])).status_code == 204
        assert (await post(listener.url, hooks[0]["secret"])).status_code == 401, "it is not a key any more"
        assert [each["verified"] for each in await listener.got(5)] == [True] * 4 + [False]


async def test_tells_people_what_comes(running_dev: stage.Dev, tenant: str) -> None:
    async with stage.process("listen", "--port", "0", "--status", "410", cwd=running_dev.folder) as process:
        address = re.search(r"http://127\.0\.0\.1:\d+/", await process.says("Ctrl-C"))
        assert address
        await running_dev.webhook(address[0], tenant)
        accepted = await running_dev.send(tenant, data={"text": "[bold]é"})
        await running_dev.until(accepted["id"], tenant, "failed")
        said = await process.says("[bold]é")
        assert f"#1  410  {accepted['id']}  signature verified\n" in said
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(f"{address[0]}a%20note")
            assert "#2  410  GET /a note  notification, not signed\n" in await process.says("#2")
            # Any web page that is open on this machine can send this.
            await http.post(address[0], content="\x1b]0;owned\x07\u202e", headers={"origin": "https://evil.example"})
        said = await process.says("#3")
        assert r"\x1b]0;owned\x07\u202e" in await process.says("owned")
        assert not {"\x1b", "\x07", "\u202e"} & set(said)


async def test_takes_notifications_for_what_they_are(running_dev: stage.Dev, tenant: str) -> None:
    """Nothing signs them; `--fail` is for webhooks."""
    async with listening("--fail", "1", cwd=running_dev.folder) as listener:
        call = {"url": f"{listener.url}notify", "method": "PUT", "body": '{"n": {{ event.data.n }}}'}
        await running_dev.webhook(listener.url, tenant, retry={"schedule": [0]}, notifications=[{"http": call}])
        accepted = await running_dev.send(tenant, data={"n": 4711})
        await running_dev.until(accepted["id"], tenant, "succeeded")
        printed = {(each["channel"], each["status"]): each for each in await listener.got(3)}
        assert printed.keys() == {("webhook", 503), ("webhook", 200), ("notification", 200)}
        note = printed["notification", 200]
        assert (note["method"], note["path"], note["body"], note["verified"]) == ("PUT", "/notify", '{"n": 4711}', None)


async def test_takes_keys_and_refuses_other_signatures(tmp_path: Path) -> None:
    symmetric, asymmetric = new_secret("v1"), new_secret("v1a")
    given = ("--secret", symmetric, "--secret", public_key(asymmetric))
    async with listening(*given, cwd=tmp_path) as listener:
        assert (await post(listener.url, symmetric)).status_code == 200
        assert (await post(listener.url, asymmetric)).status_code == 200
        for secret in (new_secret("v1"), new_secret("v1a")):
            answer = await post(listener.url, secret)
            assert (answer.status_code, answer.text) == (401, "wrong signature")
        assert (await post(listener.url, symmetric, {"webhook-timestamp": "1"})).status_code == 401
        assert (await post(listener.url, asymmetric, {"webhook-signature": "v1a,bm90"})).status_code == 401
        assert [each["verified"] for each in await listener.got(6)] == [True] * 2 + [False] * 4


async def test_says_so_where_it_has_no_key(tmp_path: Path) -> None:
    nobody = {"HOOKKEEPER_URL": f"http://127.0.0.1:{stage.free_ports().api}"}
    async with listening(cwd=tmp_path, settings=nobody) as listener:
        assert (await post(listener.url, new_secret("v1"))).status_code == 200
        (printed,) = await listener.got(1)
        assert printed["verified"] is None
        assert "Error: cannot reach" in listener.process.err.read_text()


@pytest.mark.parametrize(
    ("args", "code", "reason"),
    [
        (("--secret", "whsec_x"), 2, "base64"),
        (("--secret", "whpk_aGk="), 2, "32 bytes"),
        (("--port", "70000"), 2, "--port"),
        (("--status", "100"), 2, "--status"),
    ],
)
async def test_refuses_what_it_cannot_use(tmp_path: Path, args: tuple[str, ...], code: int, reason: str) -> None:
    done = await stage.hookkeeper("listen", *args, cwd=tmp_path)
    assert done.code == code, done
    assert reason in done.err
    assert "Traceback" not in done.err


async def test_a_port_has_one_owner(running_dev: stage.Dev, tmp_path: Path) -> None:
    port = str(running_dev.ports.api)
    done = await stage.hookkeeper("listen", "--port", port, cwd=tmp_path)
    assert (done.code, done.err) == (1, f"Error: cannot listen on port {port}: Address already in use\n")
