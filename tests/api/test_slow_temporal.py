"""Temporal is slow after an outage that has interrupted the acceptance of events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

import httpx
import pytest
from temporalio.client import Client

from drills.relays import Break, Relay, starts
from hookkeeper.services import ingest
from hookkeeper.temporal.data_converter import data_converter
from instances import Instance, another_process
from receivers import Receiver

MAX_TRIES = 10
"""Requests after which an event is accepted: two are enough, unless the machine is slow too."""


@asynccontextmanager
async def through_relay(
    instance: Instance, drops: Literal["request", "answer"] | None = None, delay: float = 0.0
) -> AsyncIterator[Instance]:
    """Serve the same registry in another process, whose connection to Temporal breaks at each start, or is slow."""
    target = instance.temporal.service_client.config.target_host.split(":")
    relay = Relay(
        "start",
        starts,
        lambda: asyncio.open_connection(*target),
        lambda step: Break(drops, wait=0.1) if drops else None,
        delay,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(relay.close)
        server = await stack.enter_async_context(await asyncio.start_server(relay.serve, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        client = await Client.connect(f"127.0.0.1:{port}", data_converter=data_converter(), lazy=True)
        yield await stack.enter_async_context(another_process(instance, temporal=client))


async def post(instance: Instance, event_id: str) -> httpx.Response:
    event = {"type": "order.paid", "tenant": instance.tenant, "id": event_id}
    return await instance.http.post("/v1/events", json=event)


async def post_until_accepted(instance: Instance, event_id: str) -> None:
    for _ in range(MAX_TRIES):
        answer = await post(instance, event_id)
        if answer.status_code != 503:
            break
    assert answer.status_code in (200, 202), f"{event_id}: {answer.text}"


@pytest.mark.parametrize("drops", ["request", "answer"])
async def test_events_whose_acceptance_was_interrupted_are_accepted_while_temporal_is_slow(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch, drops: Literal["request", "answer"]
) -> None:
    """Setup: a process dies between the rows of twenty events and the start of their runs, or before its answer.
    Timeline: they are posted again to another process, for which each call of Temporal takes a second; so are new ones.
    Proves: a few requests are enough, and each event is delivered once.
    """
    await instance.webhook(inbox.url)
    interrupted, new = [f"e{n}" for n in range(20)], [f"new{n}" for n in range(5)]
    with monkeypatch.context() as hurried:
        hurried.setattr(ingest, "ACCEPT_TIMEOUT", 1.0)
        async with through_relay(instance, drops) as dying:
            answers = await asyncio.gather(*(post(dying, event_id) for event_id in interrupted))
    assert {answer.status_code for answer in answers} == {503}
    async with through_relay(instance, delay=1.0) as process:
        await asyncio.gather(*(post_until_accepted(process, event_id) for event_id in [*interrupted, *new]))
    for event_id in [*interrupted, *new]:
        await instance.until_final(event_id)
    assert sorted(request.webhook_id for request in inbox.requests) == sorted([*interrupted, *new])
