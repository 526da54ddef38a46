"""A form that cannot be sent now is shown again with what was typed. Without a session's cookie, nothing is read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from browsers import Browser, Form, Page, browsing
from callers import make_key
from sockets import ApiServer, connected, serving

from api import limits
from api.server.connections import ClientTimeouts
from api.sessions import FRAMED, SESSION, SESSION_DURATION, SessionCookie
from hookkeeper.tenant_limits import FORMS, KEPT_FORMS
from hookkeeper.times import utc_now
from instance_parts import new_app
from instances import KEY, Instance
from timeouts import WAIT_TIMEOUT, within_a_minute

OURS = {"sec-fetch-site": "same-origin"}
TYPED = {"url": "http://127.0.0.1:9000/", "events": "*", "description": '"<two>\r\nlines', "headers": "x-key: hidden"}
ACTION = "/webhooks/new"


def ended(instance: Instance, subject: str = "admin", cookie: SessionCookie = SESSION) -> str:
    """Return the token of a session that has ended a moment ago."""
    return cookie.token(subject, instance.settings, utc_now() - SESSION_DURATION)


def put(browser: Browser, token: str) -> None:
    """Give the browser the cookie of another session."""
    browser.http.cookies.clear()
    browser.http.cookies.set(SESSION.name, token)


@pytest.fixture
async def server(idle_instance: Instance) -> AsyncIterator[ApiServer]:
    app = new_app(idle_instance.settings, idle_instance.store, idle_instance.gateway)
    async with serving(app, ClientTimeouts(rest=0.5)) as served:
        yield served


async def test_a_form_that_comes_after_its_session_keeps_what_was_typed(idle_instance: Instance) -> None:
    """In the next session it is sent by one more click; a script gets no proof."""
    key = await make_key(idle_instance, idle_instance.tenant)
    async with browsing(idle_instance.app) as browser:
        form = Form((await browser.get(ACTION)).text, ACTION).fields | TYPED
        put(browser, ended(idle_instance))
        answer = await browser.http.post(ACTION, data=form, headers=OURS)
        assert answer.status_code == 401
        assert "/login?next=%2Fwebhooks%2Fnew" in Page(answer.text).links()
        form = Form(answer.text, ACTION).fields
        assert form.items() >= TYPED.items()
        browser.http.cookies.clear()
        await browser.log_in(key["key"])
        answer = await browser.http.post(ACTION, data=form, headers=OURS)
        assert answer.status_code == 403
        assert (await idle_instance.http.get("/v1/webhooks")).json()["items"] == [], "nothing is done without a click"
        again = Form(answer.text, ACTION).fields
        assert (await browser.http.post(ACTION, data=again, headers=OURS)).status_code == 303
    (webhook,) = (await idle_instance.http.get("/v1/webhooks")).json()["items"]
    assert (webhook["description"], list(webhook["headers"])) == (TYPED["description"].replace("\r", ""), ["x-key"])


async def test_a_form_that_comes_too_soon_keeps_what_was_typed(idle_instance: Instance) -> None:
    key = await make_key(idle_instance, idle_instance.tenant, rate_limit="2/minute")
    await within_a_minute()
    async with browsing(idle_instance.app, key["key"]) as browser:
        form = Form((await browser.get(ACTION)).text, ACTION).fields | TYPED
        await browser.get(ACTION)
        answer = await browser.http.post(ACTION, data=form, headers=OURS)
        assert answer.status_code == 429
        assert Form(answer.text, ACTION).fields.items() >= form.items(), "the proof is still valid"
        assert "retry-after" in answer.headers
        assert "Try again" in (await browser.http.post(ACTION, data=form)).text


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {}], ids=str)
async def test_a_form_of_another_site_is_not_shown(idle_instance: Instance, headers: dict[str, str]) -> None:
    async with browsing(idle_instance.app) as browser:
        answer = await browser.http.post(ACTION, data=TYPED, headers=headers)
        assert (answer.status_code, "two" in answer.text) == (403, False)
        put(browser, ended(idle_instance))
        answer = await browser.http.post(ACTION, data=TYPED, headers=headers)
        assert (answer.status_code, answer.text) == (303, "")


async def test_a_form_after_its_session_has_a_limit(idle_instance: Instance) -> None:
    async with browsing(idle_instance.app, key=None) as browser:
        put(browser, ended(idle_instance))
        answer = await browser.http.post("/keys/create", data={"name": "x" * 65_536}, headers=OURS)
        assert answer.status_code == 413


@pytest.mark.parametrize(
    ("rate", "kept"),
    [(None, 401), ("1/minute", 429), ("100/second", 403)],
    ids=["an ended session", "a key beyond its rate", "a form of an earlier session"],
)
async def test_few_forms_are_kept_in_a_minute(idle_instance: Instance, rate: str | None, kept: int) -> None:
    most = int(KEPT_FORMS.rate.partition("/")[0])
    key = await make_key(idle_instance, idle_instance.tenant, rate_limit=rate)
    await within_a_minute()
    async with browsing(idle_instance.app, key["key"]) as browser:
        if kept == 401:
            put(browser, ended(idle_instance, key["id"]))
        answers = [await browser.http.post(ACTION, data=TYPED, headers=OURS) for _ in range(most + 2)]
        assert [answer.status_code for answer in answers] == [kept] * most + [429] * 2
        assert ["two" in answer.text for answer in answers] == [True] * most + [False] * 2


async def test_forms_without_the_cookie_of_a_session_are_refused_before_their_bodies(
    idle_instance: Instance, server: ApiServer
) -> None:
    """Setup: forms of 200 KB whose bodies never come. Proves: all are answered, and a neighbour is served meanwhile."""
    real = SESSION.token("admin", idle_instance.settings, utc_now())
    cookies = (
        "",
        f"{SESSION.name}=admin.9999999999.{'0' * 64}",
        f"{SESSION.name}={ended(idle_instance)[:-1]}x",
        f"{SESSION.name}={FRAMED.token('admin', idle_instance.settings, utc_now())}",
        f"{SESSION.name}={real}; {FRAMED.name}=forged",
    )
    async with AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(connected(server.port)) for _ in range(8 * len(cookies))]
        for number, client in enumerate(clients):
            client.send(
                f"POST {ACTION} HTTP/1.1\r\nhost: x\r\nsec-fetch-site: same-origin\r\ncontent-length: 200000\r\n"
                f"content-type: application/x-www-form-urlencoded\r\ncookie: {cookies[number % len(cookies)]}\r\n\r\n"
                "url=".encode()
            )
        assert "id" in await idle_instance.send()
        answers = await asyncio.gather(*(client.answer() for client in clients))
        assert {(status, body) for status, body in answers} == {(303, b"")}
        await clients[0].trickle(lambda: b"x" * 4096, every=0.05)  # ends with the connection


@pytest.mark.parametrize(
    ("path", "status", "size"),
    [(ACTION, 303, 9), (ACTION, 303, 200_000), ("/login", 403, 9), ("/login", 413, 200_000), ("/logout", 303, 9)],
)
async def test_forms_without_a_session_have_a_rate_for_each_address(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch, path: str, status: int, size: int
) -> None:
    """Beyond it they are refused after a while and without a page. Logins pass, and so do forms of other addresses."""
    monkeypatch.setattr(limits, "FORMS", FORMS._replace(rate="3/minute"))
    monkeypatch.setattr(limits, "REFUSAL_TIME", 0.01)
    app = new_app(idle_instance.settings, idle_instance.store, idle_instance.gateway)
    form = b"&".join(b"field%d=" % n + b"x" * (size // 98) for n in range(98)) if size > 9 else b"a=1"
    headers = OURS | {"content-type": "application/x-www-form-urlencoded"}
    async with browsing(app, key=None) as browser, browsing(app, key=None, address="192.0.2.2") as other:
        await within_a_minute()
        answers = [await browser.http.post(path, content=form, headers=headers) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [status] * 3 + [429] * 2
        assert answers[-1].json()["detail"] == "Too many forms from this address had no session."
        assert answers[-1].headers["retry-after"]
        monkeypatch.setattr(limits, "REFUSAL_TIME", 2 * WAIT_TIMEOUT)
        refused = asyncio.create_task(browser.http.post(path, content=form, headers=headers))
        assert (await other.http.post(path, content=form, headers=headers)).status_code == status
        assert (await browser.log_in(KEY)).status_code == 303
        assert not refused.done()
        refused.cancel()
        await asyncio.wait([refused])
