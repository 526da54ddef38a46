"""Log in with an API key, and log out: sessions, forms of other sites, guesses."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from browsers import browsing
from callers import calling, make_key
from fastapi import FastAPI
from problems import problem
from temporalio.client import Client

from api.authenticator import Authenticator
from api.sessions import SESSION
from hookkeeper.crypto.tokens import new_token
from hookkeeper.registry.tenants.api_keys import ApiKey, ApiKeys, new_key
from hookkeeper.registry.tenants.portal import PortalSession, PortalSessions
from instance_parts import new_app
from instances import KEY, Instance, running_instance
from timeouts import within_a_minute

NAT = "192.0.2.44"
"""The address of all clients of a network, as the API sees them."""
PATH = "/v1/webhooks"
LIMIT = 20
"""Failures of an address in a minute."""


async def refused_at_last(ask: Callable[[], Awaitable[httpx.Response]]) -> bool:
    """Return whether one of the next answers is 429: a new minute gives some further tries."""
    for _ in range(2 * LIMIT):
        if (await ask()).status_code == 429:
            return True
    return False


def cookie_of(answer: httpx.Response, name: str = SESSION.name) -> str:
    (found,) = [value for value in answer.headers.get_list("set-cookie") if value.startswith(f"{name}=")]
    return found


@pytest.mark.promise("docs/dashboard.md")
async def test_a_key_begins_a_session_and_log_out_ends_it(instance: Instance) -> None:
    async with browsing(instance.app, key=None) as browser:
        answer = await browser.get("/events?status=failed")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fevents%3Fstatus%3Dfailed")
        answer = await browser.log_in(KEY, then="/events?status=failed")
        assert (answer.status_code, answer.headers["location"]) == (303, "/events?status=failed")
        cookie = cookie_of(answer)
        for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=129600"):
            assert part in cookie
        assert KEY not in cookie
        assert 43_000 < int(cookie.split(".")[1]) - time.time() < 43_300, "the browser keeps it for a day longer"
        assert (await browser.get("/events")).status_code == 200
        answer = await browser.submit("/events", "/logout")
        assert answer.headers["location"] == "/login"
        assert "Max-Age=0" in cookie_of(answer)
        assert (await browser.get("/events")).headers["location"].startswith("/login")


async def test_over_https_the_cookie_goes_by_https_only(temporal: Client, tmp_path: Path) -> None:
    built = running_instance(temporal, tmp_path, public_url="https://hooks.test")
    async with built as instance, browsing(instance.app, key=None) as browser:
        browser.http.base_url = httpx.URL("https://hooks.test")
        assert "Secure" in cookie_of(await browser.log_in(KEY))


async def test_a_wrong_key_is_refused_and_not_shown(instance: Instance) -> None:
    async with browsing(instance.app, key=None) as browser:
        answer = await browser.log_in('"><script>alert(1)</script>')
        assert answer.status_code == 401
        assert "The key is unknown." in answer.text
        assert "<script>alert" not in answer.text
        assert (await browser.get("/events")).status_code == 303


async def test_guesses_are_limited_as_those_of_the_api(instance: Instance) -> None:
    guess = "hk_" + "x" * 43
    async with browsing(instance.app, key=None, address="192.0.2.77") as browser:
        await within_a_minute()
        answers = [(await browser.log_in(guess)).status_code for _ in range(LIMIT)]
        assert answers == [401] * LIMIT
        assert await refused_at_last(lambda: browser.log_in(guess))
        api = await browser.http.get("/v1/webhooks", headers={"authorization": f"Bearer {guess}"})
        assert api.status_code == 429, "pages and API share the limit"
        assert (await browser.log_in(KEY)).status_code == 303


@pytest.mark.parametrize(
    "path", ["//evil.test", "/\\evil.test", "https://evil.test", "javascript:alert(1)", "/a\r\nb", ""]
)
async def test_a_login_goes_to_a_page_of_ours(instance: Instance, path: str) -> None:
    async with browsing(instance.app, key=None) as browser:
        assert (await browser.log_in(KEY, then=path)).headers["location"] == "/"


@pytest.mark.promise("docs/dashboard.md")
async def test_a_form_of_another_site_cannot_log_in(instance: Instance) -> None:
    """A form of another site comes without the cookie of our form, or with another proof."""
    async with browsing(instance.app, key=None) as browser:
        proof = await browser.proof("/login")
        browser.http.cookies.clear()
        for fields in ({"key": KEY}, {"key": KEY, "proof": proof}, {"key": KEY, "proof": ""}):
            answer = await browser.http.post("/login", data=fields)
            assert answer.status_code == 403
            assert SESSION.name not in answer.headers["set-cookie"]
            browser.http.cookies.clear()


async def test_a_form_of_another_site_cannot_log_out(instance: Instance) -> None:
    async with browsing(instance.app) as browser:
        answer = await browser.http.post("/logout", data={"proof": "0" * 64})
        assert "set-cookie" not in answer.headers
        assert (await browser.get("/events")).status_code == 200


@pytest.mark.promise("docs/dashboard.md")
async def test_a_revoked_key_ends_its_sessions(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app, key["key"]) as browser:
        assert (await browser.get("/events")).status_code == 200
        await instance.http.delete(f"/v1/keys/{key['id']}")
        assert (await browser.get("/events")).headers["location"].startswith("/login")


async def test_a_link_from_another_site_finds_the_session(instance: Instance) -> None:
    """The browser sends no cookie with the first request (SameSite=Strict): a page of ours repeats it."""
    async with browsing(instance.app, key=None) as browser:
        answer = await browser.http.get("/events", headers={"sec-fetch-site": "cross-site"})
        assert (answer.status_code, "data-reload" in answer.text) == (200, True)
        answer = await browser.http.get("/events", headers={"sec-fetch-site": "same-origin"})
        assert answer.status_code == 303


async def test_a_session_uses_the_rate_limit_of_its_key(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant, rate_limit="3/minute")
    await within_a_minute()
    async with browsing(instance.app, key["key"]) as browser:
        statuses = [(await browser.get("/events")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]


async def test_a_session_is_no_key_of_the_api(instance: Instance) -> None:
    async with browsing(instance.app) as browser:
        assert (await browser.http.get("/v1/events")).status_code == 401
        assert (await browser.http.get("/codec")).text.count('type="password"') == 1


async def test_a_form_without_a_session_leads_back_to_its_page(instance: Instance) -> None:
    async with calling(instance.app, None) as http:
        for action, page in (
            ("/webhooks/wh_1/test", "/webhooks/wh_1/test"),
            ("/webhooks/wh_1/pause", "/webhooks/wh_1"),
            ("/events/a/retry?tenant=b", "/events/a?tenant=b"),
        ):
            answer = await http.post(action, data={"proof": "old"})
            assert answer.headers["location"] == f"/login?{urlencode({'next': page})}"


async def make_link(instance: Instance) -> str:
    """Return the path of a new link to the portal."""
    answer = await instance.http.post("/v1/portal-links", json={"tenant": instance.tenant})
    assert answer.status_code == 201, answer.text
    return httpx.URL(answer.json()["url"]).path


@asynccontextmanager
async def flooding(app: FastAPI) -> AsyncIterator[Counter[int]]:
    """Guess keys, links and logins from the address without a pause, beyond its limit from the beginning."""
    statuses: Counter[int] = Counter()

    async def guess_keys_and_links() -> None:
        async with browsing(app, key=None, address=NAT) as browser:
            for _ in count():
                api = await browser.http.get(PATH, headers={"authorization": f"Bearer {new_key()}"})
                page = await browser.get(f"/portal/{new_token()}")
                statuses.update((api.status_code, page.status_code))

    async def guess_logins() -> None:  # each of them waits for a while, once they are beyond the limit
        async with browsing(app, key=None, address=NAT) as browser:
            for _ in count():
                statuses[(await browser.log_in(new_key())).status_code] += 1

    tasks = [asyncio.create_task(guesses) for guesses in (guess_keys_and_links(), guess_logins())]
    while statuses.total() < 2 * LIMIT:
        await asyncio.sleep(0.01)
    yield statuses
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_valid_keys_links_and_logins_pass_beside_guesses_from_their_address(instance: Instance) -> None:
    """None was used before: this process does not know that they are valid."""
    keys = [(await make_key(instance, instance.tenant))["key"] for _ in range(20)]
    links = [await make_link(instance) for _ in range(10)]

    async def call(key: str) -> int:
        async with calling(instance.app, key, NAT) as http:
            return (await http.get(PATH)).status_code

    async def log_in(key: str) -> int:
        async with browsing(instance.app, key=None, address=NAT) as browser:
            return (await browser.log_in(key)).status_code

    async def open_link(path: str) -> int:
        async with browsing(instance.app, key=None, address=NAT) as browser:
            return (await browser.submit(path, path)).status_code

    async with flooding(instance.app) as guesses:
        called = await asyncio.gather(*map(call, keys[:10]))
        begun = await asyncio.gather(*map(log_in, [*keys[10:], KEY]), *map(open_link, links))
        async with calling(instance.app, None, NAT) as http:
            signed_in = await http.post("/codec", data={"key": KEY})
            refused = await http.get(PATH, headers={"authorization": f"Bearer {new_key()}"})
    assert set(called) == {200}
    assert {*begun, signed_in.status_code} == {303}
    assert refused.status_code == 429, guesses


class CountedKeys(ApiKeys):
    """Keys of a registry that counts lookups."""

    lookups = 0

    async def find(self, digest: str) -> ApiKey | None:
        self.lookups += 1
        return await super().find(digest)


class CountedLinks(PortalSessions):
    """Links of a registry that counts lookups."""

    lookups = 0

    async def find(self, digest: str) -> PortalSession | None:
        self.lookups += 1
        return await super().find(digest)


async def test_a_guess_costs_no_lookup_and_one_with_the_right_checksum_costs_one(instance: Instance) -> None:
    store = instance.store
    keys, links = CountedKeys(store.database, store.api_keys._direct), CountedLinks(store.database)
    app = new_app(instance.settings, store, instance.gateway)
    app.state.api.authenticator = Authenticator(KEY, keys, links, None)
    key, link = new_key(), new_token()
    async with calling(app, None, NAT) as http:
        for guess in (key[:-1] + "-", key[:-6] + "000000", key.swapcase(), "hk_" + "x" * 49, "x"):
            answer = await http.get(PATH, headers={"authorization": f"Bearer {guess}"})
            assert problem(answer, 401)["detail"] == "The key is unknown."
            assert (await http.get(f"/portal/{guess}")).status_code == 404
        assert (keys.lookups, links.lookups) == (0, 0)
        for _ in range(2 * LIMIT):
            await http.get(PATH, headers={"authorization": f"Bearer {key}"})
            await http.get(f"/portal/{link}")
        assert (keys.lookups, links.lookups) == (1, 1)


async def test_a_revoked_key_and_a_used_link_count_for_themselves_only(instance: Instance) -> None:
    """A client that goes on with a key that it once had takes nothing from others at its address."""
    made, path = await make_key(instance, instance.tenant), await make_link(instance)
    await instance.http.delete(f"/v1/keys/{made['id']}")
    async with browsing(instance.app, key=None, address="192.0.2.45") as browser:
        await browser.submit(path, path)
        revoked = {"authorization": f"Bearer {made['key']}"}
        answers = [await browser.http.get(PATH, headers=revoked) for _ in range(LIMIT)]
        assert [answer.status_code for answer in answers] == [401] * LIMIT
        assert answers[0].json()["detail"] == "The key was revoked."
        assert await refused_at_last(lambda: browser.http.get(PATH, headers=revoked))
        pages = [(await browser.get(path)).status_code for _ in range(LIMIT)]
        assert pages == [410] * LIMIT
        assert await refused_at_last(lambda: browser.get(path))
        unknown = await browser.http.get(PATH, headers={"authorization": f"Bearer {new_key()}"})
        assert unknown.status_code == 401
