"""`hookkeeper listen`: a receiver that verifies requests with the keys from the API."""

import asyncio
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
import processes
import pytest

from cli.client.listen import Behaviour, Keys, receiving
from cli.console import Failed
from hookkeeper.crypto.signing_keys import new_secret, public_key, sign

pytest_plugins = ["dev_fixtures"]


@dataclass
class Listener:
    process: processes.Process
    url: str

    async def got(self, count: int) -> list[dict[str, Any]]:
        """Wait for this many requests; return them as printed."""
        await processes.until(lambda: len(self.process.out.read_text().splitlines()) >= count)
        return [json.loads(line) for line in self.process.out.read_text().splitlines()]


@asynccontextmanager
async def listening(*args: str, cwd: Path, settings: processes.Settings = processes.NOTHING) -> AsyncIterator[Listener]:
    async with processes.process("listen", "--port", "0", "--json", *args, cwd=cwd, settings=settings) as process:
        output = await process.says("Ctrl-C")
        address = re.search(r"http://127\.0\.0\.1:\d+/", output)
        assert address
        yield Listener(process, address[0])
        assert await process.stop(signal.SIGINT) == 0


async def post(
    url: str, secret: str, headers: dict[str, str] | None = None, body: bytes = b'{"n":1}'
) -> httpx.Response:
    """Send a signed request, as a delivery does."""
    stamp = int(time.time())
    signed = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign([secret], message_id="evt_1", timestamp=stamp, body=body),
    }
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(url, content=body, headers=signed | (headers or {}))


async def test_verifies_with_keys_from_the_api(running_dev: processes.Dev, tenant: str) -> None:
    async with listening("--fail", "1", "--status", "204", "--delay", "0.3", cwd=running_dev.folder) as listener:
        hooks = [
            await running_dev.webhook(listener.url, tenant, retry={"schedule": [0]}, signature_scheme=scheme)
            for scheme in ("v1", "v1a")
        ]
        accepted = await running_dev.send(tenant, data={"text": "[bold]é"})
        event = await running_dev.until(accepted["id"], tenant)
        printed = await listener.got(3)

        assert sorted(request["status"] for request in printed) == [204, 204, 503]
        assert sorted(request["number"] for request in printed) == [1, 2, 3], "in the order of their answers"
        assert {request["verified"] for request in printed} == {True}
        assert {request["webhook_id"] for request in printed} == {event["id"]}
        assert {json.loads(request["body"])["data"]["text"] for request in printed} == {"[bold]é"}
        attempts = [attempt for delivery in event["deliveries"] for attempt in delivery["attempts"]]
        assert all(attempt["duration_ms"] >= 300 for attempt in attempts)

        rotated = await running_dev.http.post(f"/v1/webhooks/{hooks[0]['id']}/rotate-secret", json={"grace": 0})
        assert (await post(listener.url, rotated.json()["secret"])).status_code == 204
        assert (await post(listener.url, hooks[0]["secret"])).status_code == 401, "it is not a key any more"
        assert [request["verified"] for request in await listener.got(5)] == [True] * 4 + [False]


async def test_prints_requests_for_people(running_dev: processes.Dev, tenant: str) -> None:
    async with processes.process("listen", "--port", "0", "--status", "410", cwd=running_dev.folder) as process:
        address = re.search(r"http://127\.0\.0\.1:\d+/", await process.says("Ctrl-C"))
        assert address
        await running_dev.webhook(address[0], tenant)
        accepted = await running_dev.send(tenant, data={"text": "[bold]é"})
        await running_dev.until(accepted["id"], tenant, "failed")
        output = await process.says("[bold]é")
        assert f"#1  410  {accepted['id']}  signature verified\n" in output
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(f"{address[0]}a%20note")
            assert "#2  410  GET /a note  notification, not signed\n" in await process.says("#2")
            # Any web page that is open on this machine can send this.
            await http.post(address[0], content="\x1b]0;owned\x07\u202e", headers={"origin": "https://evil.example"})
        output = await process.says("#3")
        assert r"\x1b]0;owned\x07\u202e" in await process.says("owned")
        assert not {"\x1b", "\x07", "\u202e"} & set(output)


async def test_recognizes_notifications(running_dev: processes.Dev, tenant: str) -> None:
    """They are not signed, and `--fail` does not apply to them."""
    async with listening("--fail", "1", cwd=running_dev.folder) as listener:
        call = {"url": f"{listener.url}notify", "method": "PUT", "body": '{"n": {{ event.data.n }}}'}
        await running_dev.webhook(listener.url, tenant, retry={"schedule": [0]}, notifications=[{"http": call}])
        accepted = await running_dev.send(tenant, data={"n": 4711})
        await running_dev.until(accepted["id"], tenant, "succeeded")
        printed = {(request["channel"], request["status"]): request for request in await listener.got(3)}
        assert printed.keys() == {("webhook", 503), ("webhook", 200), ("notification", 200)}
        notification = printed["notification", 200]
        assert tuple(notification[field] for field in ("method", "path", "body", "verified")) == (
            "PUT",
            "/notify",
            '{"n": 4711}',
            None,
        )


async def test_verifies_with_given_keys_and_refuses_other_signatures(tmp_path: Path) -> None:
    symmetric, asymmetric = new_secret("v1"), new_secret("v1a")
    given = ("--secret", symmetric, "--secret", public_key(asymmetric))
    async with listening(*given, cwd=tmp_path) as listener:
        assert (await post(listener.url, symmetric)).status_code == 200
        assert (await post(listener.url, asymmetric)).status_code == 200
        assert (await post(listener.url, symmetric, body=b"a=1&b=2")).status_code == 200, "a form is signed as well"
        for secret in (new_secret("v1"), new_secret("v1a")):
            answer = await post(listener.url, secret)
            assert (answer.status_code, answer.text) == (401, "wrong signature")
        assert (await post(listener.url, symmetric, {"webhook-timestamp": "1"})).status_code == 401
        assert (await post(listener.url, asymmetric, {"webhook-signature": "v1a,bm90"})).status_code == 401
        assert [request["verified"] for request in await listener.got(7)] == [True] * 3 + [False] * 4


async def test_reports_missing_keys(tmp_path: Path) -> None:
    unreachable = {"HOOKKEEPER_URL": f"http://127.0.0.1:{processes.free_ports().api}"}
    async with listening(cwd=tmp_path, settings=unreachable) as listener:
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
async def test_refuses_invalid_options(tmp_path: Path, args: tuple[str, ...], code: int, reason: str) -> None:
    done = await processes.hookkeeper("listen", *args, cwd=tmp_path)
    assert done.code == code, done
    assert reason in done.err
    assert "Traceback" not in done.err


async def test_reports_a_port_in_use(running_dev: processes.Dev, tmp_path: Path) -> None:
    port = str(running_dev.ports.api)
    done = await processes.hookkeeper("listen", "--port", port, cwd=tmp_path)
    assert (done.code, done.err) == (1, f"Error: cannot listen on port {port}: Address already in use\n")


async def test_reads_keys_only_after_a_signature_that_none_of_them_verifies() -> None:
    """Timeline: many signed requests; a rotated key; many wrong signatures at once; an API that does not answer."""
    secrets, reads, is_up = [new_secret("v1")], 0, True

    def read() -> list[str]:
        nonlocal reads
        reads += 1
        if not is_up:
            raise Failed("cannot reach the API")
        return list(secrets)

    async with receiving(0, Behaviour(), Keys([], read), lambda _: None) as port:
        url = f"http://127.0.0.1:{port}/"
        assert [(await post(url, secrets[0])).status_code for _ in range(20)] == [200] * 20
        assert reads == 1
        secrets[:] = [new_secret("v1")]
        assert (await post(url, secrets[0])).status_code == 200, "the request waits for the new key"
        assert reads == 2
        refused = await asyncio.gather(*(post(url, new_secret("v1")) for _ in range(8)))
        assert {answer.status_code for answer in refused} == {401}
        assert reads <= 4, "requests that wait share a read"
        is_up = False
        assert (await post(url, new_secret("v1"))).status_code == 401
        assert (await post(url, secrets[0])).status_code == 200, "the keys are still known"
