"""The address by which a client is limited: that of its connection, or what a trusted proxy says."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from sockets import serving

from hookkeeper.registry.tenants.api_keys import new_key
from instance_parts import app_of
from instances import Instance
from timeouts import within_a_minute

LIMIT = 20
"""Unknown keys of an address in a minute."""


@pytest.fixture
def app(instance: Instance) -> Iterator[FastAPI]:
    """An app with a state of its own: no address has tried a bad key yet."""
    with app_of(instance.settings, instance.store, instance.gateway) as app:
        yield app


@asynccontextmanager
async def client_of(app: FastAPI, *trusted_proxies: str) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the app for a client that connects from 127.0.0.1."""
    async with (
        serving(app, trusted_proxies=trusted_proxies) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http,
    ):
        yield http


async def guess_until_refused(http: httpx.AsyncClient, forwarded: Callable[[int], Sequence[str]]) -> int:
    """Guess until the answer is 429; return how many guesses had another one, which is 401.

    A new minute allows a few more than the limit.
    """
    await within_a_minute()
    for made in range(2 * LIMIT):
        if (status := await guess_from(http, *forwarded(made))) == 429:
            return made
        assert status == 401
    return 2 * LIMIT


async def guess_from(http: httpx.AsyncClient, *forwarded: str) -> int:
    """Try a key, with these lines of X-Forwarded-For."""
    lines = [("x-forwarded-for", line) for line in forwarded]
    headers = [("authorization", f"Bearer {new_key()}"), *lines]
    return (await http.get("/v1/webhooks", headers=headers)).status_code


async def test_a_client_does_not_choose_the_address_by_which_it_is_limited(app: FastAPI) -> None:
    async with client_of(app) as http:
        made = await guess_until_refused(http, lambda n: [f"198.51.100.{n}"])
    assert LIMIT <= made < 2 * LIMIT


@pytest.mark.parametrize("trusted", ["127.0.0.1", "127.0.0.0/8"])
async def test_behind_a_trusted_proxy_each_client_has_its_own_limit(app: FastAPI, trusted: str) -> None:
    """The proxy adds the client's address to what the client has sent, in the same line or another."""
    async with client_of(app, trusted) as http:
        in_one_line = await guess_until_refused(http, lambda n: [f"198.51.100.{n}, 203.0.113.7"])
        in_another = await guess_from(http, "198.51.100.1", "203.0.113.7, 127.0.0.1")
        other = await guess_from(http, "203.0.113.7, 203.0.113.8")
    assert LIMIT <= in_one_line < 2 * LIMIT
    assert (in_another, other) == (429, 401)
