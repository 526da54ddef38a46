"""Name lookups against a real name server on loopback that does not answer for some names."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from hookkeeper.addresses import parse_networks
from hookkeeper.egress.http import HttpAnswer, make_client, send
from hookkeeper.egress.request_state import LocalLimitReached
from hookkeeper.egress.resolver import Lookups, ResolverUnavailable
from name_servers import NameServer, name_server
from rawserver import OK, receiving, says
from timeouts import WAIT_TIMEOUT

LOOPBACK = parse_networks(["127.0.0.0/8"])


@pytest.fixture
async def dns() -> AsyncIterator[NameServer]:
    async with name_server(acme_example=["127.0.0.1"]) as server:
        yield server


async def post(client: httpx.AsyncClient, url: str, tenant: str = "", timeout: float = WAIT_TIMEOUT) -> HttpAnswer:
    return await send(client, "POST", url, body=b"{}", headers={}, timeout=timeout, tenant=tenant)


async def test_silent_names_of_one_tenant_delay_no_other_tenant(dns: NameServer) -> None:
    """Timeline: 250 names that no server answers for are being looked up, and 50 of these lookups are all that the
    tenant may have; another tenant's event is sent. Proves: it arrives before any of the 250 has timed out.
    """
    async with receiving(says(OK)) as receiver, make_client(LOOPBACK, lookups=dns.lookups()) as client:
        urls = [f"http://h{number}.silent.example/" for number in range(250)]
        hostile = [asyncio.create_task(post(client, url, "hostile")) for url in urls]
        await dns.until_unanswered(50)
        for _ in range(20):
            assert (await post(client, receiver.url(host="acme.example"), "healthy")).error is None
        assert not any(task.done() for task in hostile)
        assert len(dns.unanswered) == 50
        for task in hostile:
            task.cancel()
        await asyncio.gather(*hostile, return_exceptions=True)


async def test_a_name_that_another_tenant_waits_for_is_looked_up_all_the_same(dns: NameServer) -> None:
    """Proves: two tenants that share a receiver do not share the wait for a slot."""
    lookups = dns.lookups(max_per_tenant=1)
    async with receiving(says(OK)) as receiver, make_client(LOOPBACK, lookups=lookups) as client:
        silent = asyncio.create_task(post(client, "http://h.silent.example/", "hostile"))
        await dns.until_unanswered(1)
        waiting = asyncio.create_task(post(client, receiver.url(host="acme.example"), "hostile"))
        await asyncio.sleep(0.05)
        assert (await post(client, receiver.url(host="acme.example"), "healthy")).error is None
        assert not waiting.done()
        silent.cancel()
        assert (await waiting).error is None, "the slot that became free was not given to the request that waited"


async def test_time_spent_waiting_for_a_slot_is_not_the_receivers(dns: NameServer) -> None:
    """Timeline: the one lookup that the tenant may have takes longer than the timeout of its next request."""
    lookups = dns.lookups(max_per_tenant=1, timeout=6)
    async with receiving(says(OK)) as receiver, make_client(LOOPBACK, lookups=lookups) as client:
        silent = asyncio.create_task(post(client, "http://h.silent.example/"))
        await dns.until_unanswered(1)
        answer = await post(client, receiver.url(host="acme.example"), timeout=4)
        assert answer.error is None
        assert answer.duration_ms < 4000
        assert (await silent).error == "dns"


async def test_without_a_slot_in_time_no_attempt_is_charged(dns: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookkeeper.egress.request_state.SLOT_TIMEOUT", 0.05)
    async with make_client(LOOPBACK, lookups=dns.lookups(max_per_tenant=1)) as client:
        silent = asyncio.create_task(post(client, "http://h.silent.example/"))
        await dns.until_unanswered(1)
        with pytest.raises(LocalLimitReached):
            await post(client, "http://acme.example/")
        silent.cancel()
        await asyncio.gather(silent, return_exceptions=True)


async def test_a_name_whose_servers_do_not_answer_is_outcome_dns(dns: NameServer) -> None:
    async with make_client(LOOPBACK, lookups=dns.lookups(timeout=0.5)) as client:
        assert (await post(client, "http://h.silent.example/")).error == "dns"


async def test_name_servers_that_cannot_be_reached_are_an_internal_error() -> None:
    async with name_server() as dns:
        pass  # its port is closed now
    async with make_client(LOOPBACK, lookups=Lookups((dns.address,))) as client:
        with pytest.raises(ResolverUnavailable):
            await post(client, "http://acme.example/")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_names_of_this_machine_need_no_name_server(host: str) -> None:
    async with name_server() as dns:
        async with receiving(says(OK)) as receiver, make_client(LOOPBACK, lookups=dns.lookups()) as client:
            assert (await post(client, receiver.url(host=host))).error is None
        assert dns.asked == []
