"""Guesses of keys and links: they are limited by address, and valid keys and links from the same address pass."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count

import httpx
from browsers import browsing
from callers import calling, make_key
from fastapi import FastAPI
from problems import problem

from api.authenticator import Authenticator
from hookkeeper.crypto.tokens import new_token
from hookkeeper.registry.api_keys import ApiKey, ApiKeys, new_key
from hookkeeper.registry.portal import PortalSession, PortalSessions
from instance_parts import new_app
from instances import KEY, Instance

NAT = "192.0.2.44"
"""The address of all clients of a network, as the API sees them."""
PATH = "/v1/webhooks"
LIMIT = 20
"""Failures of an address in a minute."""


async def make_link(instance: Instance) -> str:
    """Return the path of a new link to the portal."""
    answer = await instance.http.post("/v1/portal-links", json={"tenant": instance.tenant})
    assert answer.status_code == 201, answer.text
    return httpx.URL(answer.json()["url"]).path


@asynccontextmanager
async def flooding(app: FastAPI) -> AsyncIterator[Counter[int]]:
    """Guess keys, links and logins from the address without a pause, beyond its limit from the beginning."""
    statuses: Counter[int] = Counter()

    async def guess() -> None:
        async with browsing(app, key=None, address=NAT) as browser:
            for _ in count():
                api = await browser.http.get(PATH, headers={"authorization": f"Bearer {new_key()}"})
                page, login = await browser.get(f"/portal/{new_token()}"), await browser.log_in(new_key())
                statuses.update(answer.status_code for answer in (api, page, login))

    task = asyncio.create_task(guess())
    while statuses.total() < 2 * LIMIT:
        await asyncio.sleep(0.01)
    yield statuses
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_valid_keys_links_and_logins_pass_beside_guesses_from_their_address(idle_instance: Instance) -> None:
    """None was used before: this process does not know that they are valid."""
    keys = [(await make_key(idle_instance, idle_instance.tenant))["key"] for _ in range(20)]
    links = [await make_link(idle_instance) for _ in range(10)]

    async def call(key: str) -> int:
        async with calling(idle_instance.app, key, NAT) as http:
            return (await http.get(PATH)).status_code

    async def log_in(key: str) -> int:
        async with browsing(idle_instance.app, key=None, address=NAT) as browser:
            return (await browser.log_in(key)).status_code

    async def open_link(path: str) -> int:
        async with browsing(idle_instance.app, key=None, address=NAT) as browser:
            return (await browser.submit(path, path)).status_code

    async with flooding(idle_instance.app) as guesses:
        called = await asyncio.gather(*map(call, keys[:10]))
        begun = await asyncio.gather(*map(log_in, [*keys[10:], KEY]), *map(open_link, links))
        async with calling(idle_instance.app, None, NAT) as http:
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


async def test_a_guess_costs_no_lookup_and_one_with_the_right_checksum_costs_one(idle_instance: Instance) -> None:
    store = idle_instance.store
    keys, links = CountedKeys(store._database, store.api_keys._direct), CountedLinks(store._database)
    app = new_app(idle_instance.settings, store, idle_instance.gateway)
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


async def test_a_revoked_key_and_a_used_link_count_for_themselves_only(idle_instance: Instance) -> None:
    """A client that goes on with a key that it once had takes nothing from others at its address."""
    made, path = await make_key(idle_instance, idle_instance.tenant), await make_link(idle_instance)
    await idle_instance.http.delete(f"/v1/keys/{made['id']}")
    async with browsing(idle_instance.app, key=None, address="192.0.2.45") as browser:
        await browser.submit(path, path)
        revoked = {"authorization": f"Bearer {made['key']}"}
        answers = [await browser.http.get(PATH, headers=revoked) for _ in range(LIMIT + 1)]
        assert [answer.status_code for answer in answers] == [401] * LIMIT + [429]
        assert answers[0].json()["detail"] == "The key was revoked."
        pages = [(await browser.get(path)).status_code for _ in range(LIMIT + 1)]
        assert pages == [410] * LIMIT + [429]
        unknown = await browser.http.get(PATH, headers={"authorization": f"Bearer {new_key()}"})
        assert unknown.status_code == 401
