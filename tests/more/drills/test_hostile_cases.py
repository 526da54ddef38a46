"""Cases of the neighbour drill: the hostile tenant does what a case says, at a bounded rate."""

import asyncio
import ssl
from contextlib import AbstractAsyncContextManager, suppress
from random import Random

import httpx
import pytest
from callers import make_key
from sockets import serving

from drills.hostile import attack
from drills.hostile_receivers import certificate_chain, costly_tls, unreading
from drills.hostile_tenant import Tenant, client
from drills.hostile_uses import USES
from instances import KEY, Instance
from timeouts import WAIT_TIMEOUT

SECONDS = 2.0


@pytest.mark.parametrize(
    ("case", "name", "statuses", "rate"),
    [
        ("bad-portal-links", "unknown links", {"404", "429"}, 20),
        ("forms-without-session", "forms", {"303", "401", "403", "413", "429", "503"}, 60),
    ],
)
async def test_a_case_sends_its_requests_at_a_bounded_rate(
    idle_instance: Instance, case: str, name: str, statuses: set[str], rate: int
) -> None:
    key = (await make_key(idle_instance, idle_instance.tenant))["key"]
    async with serving(idle_instance.app) as server:
        url, targets = f"http://127.0.0.1:{server.port}", {"page_key": key}
        found = await attack(url, key, SECONDS, 1, targets, 0, case)
    answers = found["answers"][name]
    assert answers.keys() <= statuses
    assert 1 <= sum(answers.values()) <= SECONDS * rate + 8


@pytest.mark.parametrize(
    ("use", "names"),
    [
        ("channels", ["events in channels", "lists by channel", "lists by uid"]),
        ("tenant-objects", ["tenants", "batches of tenants", "deletions"]),
        ("svix", ["messages", "lists of Svix", "recoveries"]),
        ("agents", ["find_events", "explain_failure", "show_event", "list_deliveries", "show_statistics"]),
        ("forwards", ["addresses", "forwarded", "answers"]),
        ("streams", ["messages of streams", "events"]),
    ],
)
async def test_each_use_of_a_part_is_answered(idle_instance: Instance, use: str, names: list[str]) -> None:
    """What is refused only would burden nothing."""
    key = (await make_key(idle_instance, idle_instance.tenant))["key"]
    async with serving(idle_instance.app) as server, client(f"http://127.0.0.1:{server.port}", key) as http:
        start = asyncio.Barrier(1)
        tenant = Tenant(http, Random(1), {"operator": KEY}, start, "http://127.0.0.1:18999", name=idle_instance.tenant)
        using = asyncio.create_task(USES[use](tenant))
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not all(any(200 <= status < 300 for status in tenant.answers.get(name, ())) for name in names):
                assert not using.done(), using
                await asyncio.sleep(0.05)
        using.cancel()
        await asyncio.wait([using])


async def test_a_valid_link_opens_in_the_case_that_floods_links(idle_instance: Instance) -> None:
    key = (await make_key(idle_instance, idle_instance.tenant))["key"]
    async with serving(idle_instance.app) as server:
        found = await attack(f"http://127.0.0.1:{server.port}", key, 0.4, 1, {"page_key": key}, 0, "bad-portal-links")
    assert found["answers"]["valid links"] == {"201": 1}
    assert found["broken"] == []


@pytest.mark.parametrize(
    ("receiver", "context"),
    [(unreading(), None), (costly_tls(*certificate_chain(2048)), ssl._create_unverified_context())],
)
async def test_a_receiver_with_an_open_connection_leaves_no_task_when_it_ends(
    receiver: AbstractAsyncContextManager[str], context: ssl.SSLContext | None
) -> None:
    """A loop that ends cancels what is left, and asyncio reports the handler of a connection then as an error."""

    def handlers() -> list[str]:
        names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
        return [name for name in names if name.startswith(("unreading", "costly_tls"))]

    async with receiver as url, asyncio.timeout(WAIT_TIMEOUT):
        _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port, ssl=context)
        while not handlers():
            await asyncio.sleep(0.01)
    assert not handlers()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
