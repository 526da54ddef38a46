"""What each way of failing leaves in the health of its webhook, and that only a success ends it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.client import Client

from instances import Instance, running_instance
from mail_servers import smtp_server
from name_servers import name_server
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

ANN = "ann@acme.example"


async def until_all(instance: Instance, status: str, number: int) -> dict[str, dict[str, Any]]:
    """Wait until this many webhooks have the status; return them by name."""
    query = {"tenant": instance.tenant, "status": status}
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            found = (await instance.http.get("/v1/webhooks", params=query)).json()["items"]
            if len(found) == number:
                return {webhook["name"]: webhook for webhook in found}
            await asyncio.sleep(0.05)


@pytest.mark.promise("docs/retries.md")
async def test_each_webhook_names_its_cause_until_it_is_mended(temporal: Client, tmp_path: Path) -> None:
    """Setup: eight webhooks, each broken in its own way, and one that works; one failure is enough to be failing.

    Timeline: one event; all are mended; one more event.
    Proves: each names its target and the cause; nothing is green that is not; with all mended, all are.
    """
    async with AsyncExitStack() as stack:
        broken, hung, gone, slack, fine = [await stack.enter_async_context(receiver()) for _ in range(5)]
        broken.otherwise, hung.otherwise = Answer(500, body="no database"), Answer(delay=60)
        gone.otherwise, slack.otherwise = Answer(410), Answer(404, body="no_service")
        mail, dns = await stack.enter_async_context(smtp_server()), await stack.enter_async_context(name_server())
        mail.refused[ANN] = "550 5.1.1 no such user"
        settings = {"smtp_url": SecretStr(mail.url), "dns_servers": (dns.address,)}
        instance = await stack.enter_async_context(running_instance(temporal, tmp_path, **settings))
        await stack.enter_async_context(instance.working())

        async def webhook(name: str, url: str | None, **fields: Any) -> None:
            once = {"retry": {"schedule": []}, "alert_after": {"attempts": 1}}
            await instance.webhook(url, name=name, timeout=2, **once, **fields)

        await webhook("status", broken.url)
        await webhook("hang", hung.url)
        await webhook("gone", gone.url)
        await webhook("tls", fine.url.replace("http:", "https:"))
        await webhook("dns", "http://nowhere.acme.example")
        await webhook("template", fine.url, payload={"template": '{"total": {{ event.data.total + 1 }}}'})
        await webhook("email", None, emails=[{"to": [ANN]}])
        await webhook("slack", None, notifications=[{"http": {"url": slack.url}}])
        await webhook("fine", fine.url)

        await instance.send(data={"total": "none"})
        found = await until_all(instance, "failing", 7) | await until_all(instance, "disabled", 1)
        failing = {name: each["health"]["failing"] for name, each in found.items()}
        assert all(len(targets) == 1 for targets in failing.values())
        assert {name: (one["target"], one["status_code"], one["error"]) for name, (one,) in failing.items()} == {
            "status": ("webhook", 500, "http_500"),
            "hang": ("webhook", None, "timeout"),
            "gone": ("webhook", 410, "http_410"),
            "tls": ("webhook", None, "tls"),
            "dns": ("webhook", None, "dns"),
            "template": ("webhook", None, "bad_template"),
            "email": ("email.1", 550, "smtp_550"),
            "slack": ("notification.1", 404, "http_404"),
        }
        assert failing["status"][0]["text"] == "no database"
        assert "no such user" in failing["email"][0]["text"]
        assert "line 1" in failing["template"][0]["text"]
        assert [*await until_all(instance, "healthy", 1)] == ["fine"]

        broken.otherwise = hung.otherwise = gone.otherwise = slack.otherwise = Answer()
        mail.refused.clear()
        for name, changes in {
            "gone": {"enabled": True},
            "tls": {"url": fine.url},
            "dns": {"url": fine.url},
            "template": {"payload": None},
        }.items():
            changed = await instance.http.patch(f"/v1/webhooks/{found[name]['id']}", json=changes)
            assert changed.json()["health"]["status"] == "failing", "that was no attempt"
        await instance.send(data={"total": 1})
        healthy = await until_all(instance, "healthy", 9)
        assert all(each["health"]["failing"] == [] for each in healthy.values())


@pytest.mark.parametrize("change", ["pause", "rotate-secret"])
async def test_a_failing_webhook_fails_through_pauses_and_rotations(
    instance: Instance, inbox: Receiver, change: str
) -> None:
    inbox.fails(500)
    webhook = await instance.webhook(inbox.url, retry={"schedule": []})
    await instance.until_closed((await instance.send())["id"])
    path = f"/v1/webhooks/{webhook['id']}"
    before = (await instance.http.get(path)).json()["health"]
    assert (before["status"], before["failures"]) == ("degraded", 1)
    await instance.http.post(f"{path}/{change}")
    assert (await instance.http.get(path)).json()["health"]["status"] == ("paused" if change == "pause" else "degraded")
    await instance.http.post(f"{path}/resume")
    assert (await instance.http.get(path)).json()["health"] == before
