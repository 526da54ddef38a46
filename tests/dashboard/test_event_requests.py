"""The request of a delivery, rebuilt: what its page shows and hides, and its command line, which a real shell runs."""

import asyncio
import re
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsers import Browser, Page, browsing
from callers import make_key
from standardwebhooks import Webhook
from test_portal_links import visiting

from hookkeeper.content.headers import MASK
from instances import Instance
from receivers import Receiver, Request

EXPLOIT = 'it\'s "$(touch pwned)" `touch pwned`; touch pwned & !! \\ $HOME'
TEMPLATE = {"content_type": "text/plain", "template": "{{ event.data.text }}"}
OWN = {"x-token": EXPLOIT, "x-`id`'$!": "@x"}
OF_THE_MOMENT = ("webhook-timestamp", "webhook-signature")


async def delivered(instance: Instance, url: str, data: Any, **fields: Any) -> tuple[dict[str, Any], str]:
    """Register a webhook and send it an event; return the webhook and the path of the request's page."""
    webhook = await instance.webhook(url, **{"retry": {"schedule": []}} | fields)
    event = await instance.send(data=data)
    await instance.until_final(event["id"])
    return webhook, f"/events/{event['id']}/deliveries/{webhook['id']}/request"


def command_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    found = re.search(r'<pre[^>]* id="curl"[^>]*>\n(.*?)</pre>', answer.text, re.DOTALL)
    assert found, answer.text
    return unescape(found[1])


async def reveal(browser: Browser, path: str, tenant: str) -> str:
    return command_of(await browser.submit("/events", f"{path}/curl?tenant={tenant}"))


async def run(command: str, folder: Path, shell: str = "sh") -> None:
    """Run a command as if it were typed, in an empty folder, which must stay empty."""
    process = await asyncio.create_subprocess_exec(
        shell, cwd=folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said = await process.communicate(command.encode() + b"\n")
    assert process.returncode == 0, said
    assert list(folder.iterdir()) == []


def steady(request: Request) -> tuple[str, dict[str, str], bytes]:
    """Return what is the same at each attempt, with the webhook's own headers masked."""
    headers = {
        name: MASK if name in OWN else value for name, value in request.headers.items() if name not in OF_THE_MOMENT
    }
    return request.path, headers, request.body


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (EXPLOIT, {}),
        (f"{EXPLOIT}\n'\n{EXPLOIT}\n", {"payload": TEMPLATE}),
        ("@/etc/hostname", {"payload": TEMPLATE}),
        ("grün – 漢字 😀", {"payload": {"format": "cloudevents-binary", "static": {"shop": "ü'$(id)"}}}),
        ("\x03\x1b[201~\r\ntouch pwned\r\n\x00\u202e", {"payload": TEMPLATE}),
        ("x'" * 70_000, {}),
    ],
    ids=["exploit", "lines", "file", "unicode", "terminal", "long"],
)
async def test_the_command_sends_what_the_worker_sends(
    instance: Instance, inbox: Receiver, folder: Path, text: str, fields: dict[str, Any]
) -> None:
    """Setup: an event with a hostile value in its data, a webhook with such values in its URL and headers.

    Proves: the request of the command is that of the worker, byte for byte; its signature, made later, is
    valid; and neither the shell nor curl nor a terminal reads any part of it.
    """
    url = f"{inbox.url}/$(touch$IFS'pwned')/../a;touch&[1-9]'?key=$(id)&x=[a-z]#"[:-1]
    webhook, path = await delivered(instance, url, {"text": text}, headers=OWN, **fields)
    (sent,) = inbox.requests
    await asyncio.sleep(1.1)  # the signature has seconds
    async with browsing(instance.app) as browser:
        command = await reveal(browser, path, instance.tenant)
    assert command.replace("\n", "").isprintable()
    for shell in ("sh", "bash"):
        await run(command, folder, shell)
    _, *repeated = inbox.requests
    assert len(repeated) == 2
    for again in repeated:
        assert steady(again) == steady(sent)
        assert all(again.headers[name] == MASK for name in OWN)
        assert int(again.headers["webhook-timestamp"]) > int(sent.headers["webhook-timestamp"])
        Webhook(webhook["secret"]).verify(again.body, again.headers, json_parse=False)


async def test_the_page_shows_the_request_without_secrets(instance: Instance, inbox: Receiver) -> None:
    hostile = "</pre><script>alert(1)</script>"
    url, headers = f"{inbox.url}?key=query-secret", {"authorization": "Bearer header-secret", "x-plain": "also-secret"}
    webhook, path = await delivered(instance, url, {"text": hostile}, headers=headers)
    async with browsing(instance.app) as browser:
        page = await browser.page(f"/events/{path.split('/')[2]}?tenant={instance.tenant}")
        assert f"{path}?tenant={instance.tenant}" in page.links()
        answer = await browser.get(f"{path}?tenant={instance.tenant}")
        shown = Page(answer.text).text
        assert "<script>alert" not in answer.text
        for line in (
            f"POST {inbox.url}?{MASK}",
            f"authorization: {MASK}",
            f"x-plain: {MASK}",
            f"webhook-signature: {MASK}",
            "content-type: application/json",
            f"webhook-id: {path.split('/')[2]}",
            hostile,
        ):
            assert line in shown, line
        assert "The request is as attempt 1 sent it" in shown
        for secret in ("query-secret", "header-secret", "also-secret", webhook["secret"], 'id="curl"'):
            assert secret not in answer.text, secret
        command = await reveal(browser, path, instance.tenant)
        assert "key=query-secret" in command, "who may change the webhook reads its URL in the API"
        for secret in ("header-secret", "also-secret", webhook["secret"]):
            assert secret not in command, "SECURITY.md: no key reads them, or they have their own page"
        changed = await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"payload": {"static": {"new": 1}}})
        assert changed.status_code == 200
        shown = (await browser.page(f"{path}?tenant={instance.tenant}")).text
    assert '"new":1' in shown
    assert "The webhook has changed since attempt 1: body." in shown
    assert len(inbox.requests) == 1, "nothing is sent"


async def test_each_command_that_is_shown_is_in_the_audit_log(instance: Instance, inbox: Receiver) -> None:
    webhook, path = await delivered(instance, inbox.url, {})
    async with browsing(instance.app) as browser:
        assert (await browser.get(f"{path}?tenant={instance.tenant}")).status_code == 200
        assert [entry["action"] for entry in await audit(instance, webhook)] == ["webhook.create"]
        await reveal(browser, path, instance.tenant)
        assert (await browser.http.post(f"{path}/curl?tenant={instance.tenant}")).status_code == 403, "without a proof"
    shown, _ = await audit(instance, webhook)
    assert (shown["action"], shown["detail"]) == ("webhook.show-request", {"event_id": path.split("/")[2]})


async def audit(instance: Instance, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    items = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
    return [item for item in items if item["object_id"] == webhook["id"]]


async def test_a_key_without_the_scopes_gets_no_request(instance: Instance, inbox: Receiver) -> None:
    webhook, path = await delivered(instance, inbox.url, {"text": "private"}, headers={"x-token": "header-secret"})
    statuses = {
        ("someone-else", "events:read", "webhooks:read", "webhooks:write"): (404, 404),
        (instance.tenant, "events:read"): (403, 403),
        (instance.tenant, "webhooks:read", "webhooks:write"): (403, 403),
        (instance.tenant, "events:read", "webhooks:read"): (200, 403),
        (instance.tenant, "events:read", "webhooks:secrets"): (403, 200),
    }
    for (tenant, *scopes), expected in statuses.items():
        key = await make_key(instance, tenant, scopes=scopes)
        async with browsing(instance.app, key["key"]) as browser:
            page, proof = await browser.get(path), await browser.proof("/audit")
            curl = await browser.http.post(f"{path}/curl", data={"proof": proof})
            foreign = await browser.get(f"{path}?tenant={instance.tenant}")
        assert (page.status_code, curl.status_code) == expected, scopes
        assert foreign.status_code == expected[0]
        texts = page.text + curl.text + foreign.text
        assert "header-secret" not in texts
        assert "Show as curl" not in texts
        assert ("private" in texts) == (200 in expected)
    assert [entry["action"] for entry in await audit(instance, webhook)] == ["webhook.show-request", "webhook.create"]


async def test_a_link_that_shows_signing_keys_shows_requests_as_curl(instance: Instance, inbox: Receiver) -> None:
    _, path = await delivered(instance, inbox.url, {"text": "private"}, headers={"x-token": "header-secret"})
    async with visiting(instance) as (browser, _):
        assert "Show as curl" not in (await browser.page(path)).text
        assert (await browser.submit("/events", f"{path}/curl")).status_code == 403
    async with visiting(instance, capabilities=["view_secrets"]) as (browser, _):
        assert "Show as curl" in (await browser.page(path)).text
        command = command_of(await browser.submit("/events", f"{path}/curl"))
        assert "header-secret" not in command
        assert "private" in command


async def test_a_request_that_cannot_be_rebuilt_says_why(instance: Instance, inbox: Receiver) -> None:
    webhook, path = await delivered(instance, inbox.url, {"text": "a"}, emails=[])
    at, query = f"/v1/webhooks/{webhook['id']}", f"?tenant={instance.tenant}"
    failing = {"payload": {"template": '{"number": {{ event.data.text | int }} }'}}
    async with browsing(instance.app) as browser:
        assert (await instance.http.patch(at, json=failing)).status_code == 200
        answer = await browser.get(path + query)
        assert "The template fails for this event, so nothing can be sent" in answer.text
        answer = await browser.submit("/events", f"{path}/curl{query}")
        assert "The template fails" in answer.text
        assert (await instance.http.delete(at)).status_code == 204
        for answer in (await browser.get(path + query), await browser.submit("/events", f"{path}/curl{query}")):
            assert answer.status_code == 200
            assert "The webhook was deleted" in answer.text
            assert 'id="curl"' not in answer.text
    assert "webhook.show-request" not in [entry["action"] for entry in await audit(instance, webhook)]


async def test_an_unknown_delivery_is_not_found(instance: Instance, inbox: Receiver) -> None:
    _, path = await delivered(instance, inbox.url, {})
    async with browsing(instance.app) as browser:
        for other in (path.replace("wh_", "wh_x"), path.replace("evt_", "evt_x"), path.replace("wh_", "'")):
            assert (await browser.get(f"{other}?tenant={instance.tenant}")).status_code == 404, other


async def test_the_page_of_an_attempt_says_what_has_changed_since(instance: Instance, inbox: Receiver) -> None:
    """Setup: two attempts, between which the URL has changed; later the headers and the signing key change."""
    inbox.fails(503)
    webhook = await instance.webhook(f"{inbox.url}?old", retry={"schedule": [3600]})
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    at, path = f"/v1/webhooks/{webhook['id']}", f"/events/{event['id']}/deliveries/{webhook['id']}/request"
    await instance.http.patch(at, json={"url": f"{inbox.url}?new"})
    await instance.command(event["id"], "retry")
    await instance.until_final(event["id"])
    async with browsing(instance.app) as browser:

        async def shown(attempt: int) -> str:
            return " ".join((await browser.page(f"{path}?tenant={instance.tenant}&attempt={attempt}")).text.split())

        page = await browser.page(f"/events/{event['id']}?tenant={instance.tenant}")
        assert {f"{path}?tenant={instance.tenant}&attempt={number}" for number in (1, 2)} <= page.links()
        first = await shown(1)
        assert "The webhook has changed since attempt 1: URL." in first
        for text in ("503", "answer 503", "queue", "connect", "first byte", "content-type: text/plain; charset=utf-8"):
            assert text in first, text
        assert "The request is as attempt 2 sent it" in await shown(2)
        await instance.http.patch(at, json={"headers": {"x-shop": "1"}})
        assert "has changed since attempt 2: headers." in await shown(2)
        for _ in range(2):
            await instance.http.post(f"{at}/rotate-secret", json={"end_previous": True})
        again = await shown(2)
        assert "has changed since attempt 2: signing key. URL and headers cannot be compared" in again
        answer = await browser.submit("/events", f"{path}/curl?tenant={instance.tenant}&attempt=1")
        assert "Attempt 1" in Page(answer.text).text
        assert "?new" in command_of(answer), "the command sends the request as it would be sent now"
        assert (await browser.get(f"{path}?tenant={instance.tenant}&attempt=3")).status_code == 404
