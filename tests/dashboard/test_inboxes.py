"""Inboxes: a first webhook in the product itself, and what they cost."""

import asyncio
import threading
from html import unescape
from typing import Any

import pytest
from browsers import Browser, browsing
from callers import calling, make_key
from sockets import serving

from api import inboxes
from api.inboxes import Inboxes, ReceivedRequest
from api.strict_json import parse
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now
from instances import Instance
from timeouts import WAIT_TIMEOUT


def with_inboxes(instance: Instance, port: int = 9) -> Settings:
    return instance.settings.model_copy(update={"inboxes": True, "public_url": f"http://127.0.0.1:{port}"})


def use_inboxes(instance: Instance, port: int = 9) -> None:
    """Switch them on in the app that runs."""
    instance.app.state.api.settings = with_inboxes(instance, port)


async def offers_one(browser: Browser) -> bool:
    return any(action.startswith("/inbox/new") for action in (await browser.page("/")).actions())


async def first_path(browser: Browser) -> str:
    answer = await browser.submit("/", "/inbox/new")
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def test_one_button_makes_a_first_webhook_arrive(own_instance: Instance) -> None:
    """Setup: an empty product. Timeline: the button of the first steps; wait. It proves a delivery to itself."""
    key = await make_key(own_instance, own_instance.tenant)
    async with serving(own_instance.app) as server, browsing(own_instance.app, key["key"]) as browser:
        use_inboxes(own_instance, server.port)
        assert await offers_one(browser)
        path = await first_path(browser)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while "has arrived" not in (page := await browser.page(path)).text:
                await asyncio.sleep(0.05)
    assert "signature is right" in page.text
    assert '"order": 4711' in page.text
    assert "webhook-id" in page.text
    event = path.partition("event=")[2]
    assert (await own_instance.until_final(event))["status"] == "succeeded"


async def test_an_inbox_is_shown_to_its_tenant_and_takes_requests_from_all(idle_instance: Instance) -> None:
    use_inboxes(idle_instance)
    token = idle_instance.app.state.api.inboxes.tokens.new(idle_instance.tenant)
    mine, other = [(await make_key(idle_instance, tenant))["key"] for tenant in (idle_instance.tenant, "another")]
    async with calling(idle_instance.app, None) as http:
        headers = {"content-type": "text/x", "x-secret": "hush"}
        answer = await http.post(f"/inbox/{token}", content=b"<b>hello", headers=headers)
        assert (answer.status_code, answer.text) == (200, "ok")
        assert (await http.post(f"/inbox/{token.swapcase()}", content=b"x")).status_code == 404
        assert (await http.post(f"/inbox/{token}", content=b"x" * 70_000)).status_code == 413
    async with browsing(idle_instance.app, mine) as browser:
        html = (await browser.get(f"/inbox/{token}")).text
    assert "&lt;b&gt;hello" in html
    assert "not signed" in html
    assert "x-secret" in html
    assert "hush" not in html
    async with browsing(idle_instance.app, other) as browser:
        assert (await browser.get(f"/inbox/{token}")).status_code == 404


@pytest.mark.parametrize(
    "body", [rb'"\ud800"', b"1e400", rb'{"a": "\ud800"}', b'{"a": [-1e400]}', b"[" * 5000, b"1" * 5000, b"\xff\0"]
)
async def test_an_inbox_is_shown_whatever_has_arrived(idle_instance: Instance, body: bytes) -> None:
    use_inboxes(idle_instance)
    token = idle_instance.app.state.api.inboxes.tokens.new(idle_instance.tenant)
    async with calling(idle_instance.app, None) as http:
        assert (await http.post(f"/inbox/{token}", content=body)).status_code == 200
    async with browsing(idle_instance.app) as browser:
        answer = await browser.get(f"/inbox/{token}")
    assert answer.status_code == 200
    assert body.decode(errors="replace")[:20] in unescape(answer.text)


async def test_no_body_in_an_inbox_is_parsed_on_the_loop(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inbox with 256 KB of `[0],[0],…` took 60 ms."""
    threads: list[threading.Thread] = []

    def noted(body: bytes) -> Any:
        threads.append(threading.current_thread())
        return parse(body)

    monkeypatch.setattr("dashboard.inbox.parse", noted)
    use_inboxes(idle_instance)
    token = idle_instance.app.state.api.inboxes.tokens.new(idle_instance.tenant)
    for _ in range(2):
        assert (await idle_instance.http.post(f"/inbox/{token}", json=[[0]] * 100)).status_code == 200
    async with browsing(idle_instance.app) as browser:
        await browser.page(f"/inbox/{token}")
    assert len(threads) == 2
    assert threading.current_thread() not in threads


async def test_inboxes_are_off_in_production(idle_instance: Instance) -> None:
    token = idle_instance.app.state.api.inboxes.tokens.new(idle_instance.tenant)
    assert (await idle_instance.http.post(f"/inbox/{token}")).status_code == 404
    async with browsing(idle_instance.app) as browser:
        assert not await offers_one(browser)
        assert (await browser.submit("/event-types", "/inbox/new")).status_code == 404
        assert (await browser.get(f"/inbox/{token}")).status_code == 404
    assert (await idle_instance.http.get("/v1/webhooks")).json()["items"] == []


async def test_a_key_that_sends_no_events_makes_no_inbox(idle_instance: Instance) -> None:
    use_inboxes(idle_instance)
    scopes = ["events:read", "webhooks:read", "webhooks:write"]
    key = await make_key(idle_instance, idle_instance.tenant, scopes=scopes)
    async with browsing(idle_instance.app, key["key"]) as browser:
        assert not await offers_one(browser)
        assert (await browser.submit("/", "/inbox/new")).status_code == 403
    assert (await idle_instance.http.get("/v1/webhooks")).json()["items"] == []


async def test_requests_to_the_inboxes_of_a_tenant_have_a_rate(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_inboxes(idle_instance)
    monkeypatch.setattr(inboxes, "RATE", "2/hour")
    kept = idle_instance.app.state.api.inboxes
    path, other = (f"/inbox/{kept.tokens.new(tenant)}" for tenant in (idle_instance.tenant, "another"))
    statuses = [(await idle_instance.http.post(path)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (await idle_instance.http.post(other)).status_code == 200


def test_inboxes_take_bounded_memory() -> None:
    kept = Inboxes(b"key")

    def fill(tenant: str, count: int, body: bytes = b"x") -> str:
        token = kept.tokens.new(tenant)
        for _ in range(count):
            kept.add(token, tenant, ReceivedRequest(utc_now(), {}, body))
        return token

    assert len(kept.requests(fill("a", 30))) == inboxes.MAX_REQUESTS
    assert len(kept.requests(fill("a", 30, bytes(inboxes.MAX_BODY)))) == 4
    others = [fill("b", 1) for _ in range(inboxes.MAX_PER_TENANT + 1)]
    assert [len(kept.requests(token)) for token in others] == [0, *[1] * inboxes.MAX_PER_TENANT]
    first = fill("first", 1)
    for n in range(inboxes.MAX_INBOXES):
        fill(f"t{n}", 1)
    assert kept.requests(first) == []
    old = kept.tokens.new("a")
    kept.add(old, "a", ReceivedRequest(utc_now() - inboxes.KEPT_FOR * 2, {}, b""))
    assert kept.requests(old) == []
    assert kept.tokens.owner_of(old) == "a"
    assert kept.tokens.owner_of("A" * 40) is None
