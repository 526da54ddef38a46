"""Deliveries as a whole: TLS of a webhook's own, and a proxy whose failure is charged to no webhook."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr
from temporalio.client import Client

from drills.authorities import Authority
from instances import Instance, running_instance
from proxies import proxying
from rawserver import OK, receiving, says
from timeouts import WAIT_TIMEOUT

ONE_ATTEMPT: dict[str, list[float]] = {"schedule": []}
"""One attempt: whatever is charged ends the delivery."""


async def test_a_certificate_is_shown_and_its_key_is_in_no_history(instance: Instance, tmp_path: Path) -> None:
    ours, theirs = Authority(), Authority()
    client, server = ours.certify("client.example"), theirs.certify("127.0.0.1")
    (tmp_path / "server.pem").write_text(server.certificate + server.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.load_verify_locations(cadata=ours.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    tls = {"ca": theirs.pem, "certificate": client.certificate, "key": client.key}
    async with receiving(says(OK), tls=context) as receiver:
        webhook = await instance.webhook(receiver.url(), tls=tls, retry=ONE_ATTEMPT)
        first = await instance.until_final((await instance.send())["id"])
        await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"tls": None})
        second = await instance.until_final((await instance.send())["id"])
    assert first["status"] == "succeeded"
    assert len(receiver.requests) == 1
    assert second["deliveries"][0]["attempts"][0]["error"] == "tls"
    history = (await instance.run(first["id"]).fetch_history()).to_json()
    assert client.key.splitlines()[1] not in history


async def test_a_proxy_that_wants_another_password_costs_no_attempt(temporal: Client, tmp_path: Path) -> None:
    """Setup: a webhook with one attempt, behind a proxy. Timeline: it answers 407 twice or more, and then is well.

    Proves: the delivery waits, is charged with nothing, and succeeds at its first attempt.
    """
    async with receiving(says(OK)) as receiver, proxying(receiver) as proxy:
        proxy.answer = b"HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n"
        async with behind(proxy.url, temporal, tmp_path) as instance:
            await instance.webhook(receiver.url(), retry=ONE_ATTEMPT)
            event = await instance.send()
            async with asyncio.timeout(WAIT_TIMEOUT):
                while len(proxy.heads) < 2:
                    await asyncio.sleep(0.05)
            [delivery] = (await instance.event(event["id"]))["deliveries"]
            assert (delivery["status"], delivery["attempts"]) == ("pending", [])
            proxy.answer = b""
            await succeeds_at_once(instance, event["id"])


async def test_a_proxy_that_is_down_costs_no_attempt(temporal: Client, tmp_path: Path) -> None:
    """Timeline: nothing listens at the proxy's port; two seconds later it does."""
    async with receiving(says(OK)) as receiver:
        async with proxying(receiver) as gone:
            pass
        async with behind(gone.url, temporal, tmp_path) as instance:
            await instance.webhook(receiver.url(), retry=ONE_ATTEMPT)
            event = await instance.send()
            await asyncio.sleep(2)
            async with proxying(receiver, gone.port):
                await succeeds_at_once(instance, event["id"])


@asynccontextmanager
async def behind(proxy: str, temporal: Client, folder: Path) -> AsyncIterator[Instance]:
    """Build an instance whose deliveries go through a proxy."""
    async with running_instance(temporal, folder, egress_proxy=SecretStr(proxy)) as instance, instance.working():
        yield instance


async def succeeds_at_once(instance: Instance, event_id: str) -> None:
    [delivery] = (await instance.until_final(event_id))["deliveries"]
    assert delivery["status"] == "succeeded"
    assert [(attempt["number"], attempt["error"]) for attempt in delivery["attempts"]] == [(1, None)]
