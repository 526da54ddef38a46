"""The ordering drills: events of an ordered webhook arrive in order, though requests fail and all workers die twice.

With keys, events of each key arrive in order, though all processes die twice. The throughput before that is compared
with that of unordered events.
"""

import asyncio
import itertools
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any

from drills.answers import PlannedAnswer
from drills.environment import TENANT, Environment, Report, environment
from drills.load_generator import LoadGenerator
from drills.observations import ReceivedRequest
from drills.receiver import Answers, Receivers
from drills.shape import EMBEDDED, WORKERS, Shape

RESPONSE_DELAY = 0.05
"""Seconds that the receiver takes, so that a request is in flight at each kill."""
KILLS = (1 / 3, 2 / 3)
"""All workers are killed when these parts of the events have been delivered."""
RETRIES = {"schedule": [0.2] * 49}
POSTERS = 50
"""Events that are posted at the same time."""
FAILURES = 0.05
"""Part of the requests that fail, with keys."""
BASE_TIMEOUT, TIMEOUT_PER_EVENT = 60.0, 1.0
"""Seconds that posting and delivering may take."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """The result of the drill."""

    accepted: list[str]
    """Ids of events in the order of their acceptance."""
    requests: list[ReceivedRequest]
    """In the order of their arrival."""
    kills: int
    seconds: float
    """From the first post to the last delivery."""
    open: int
    """Events that are not `succeeded` according to the API."""

    @property
    def received(self) -> list[str]:
        """Ids in the order of their first request."""
        return list(dict.fromkeys(request.event_id for request in self.requests))

    @property
    def repeated(self) -> int:
        """Requests for an event that had been delivered: those in flight at a kill."""
        return sum(request.is_delivery for request in self.requests) - len(self.received)

    @property
    def failed(self) -> int:
        return sum(not request.is_delivery for request in self.requests)

    @property
    def passed(self) -> bool:
        return self.received == self.accepted and not self.open and self.kills == len(KILLS) * len(WORKERS)


@dataclass(frozen=True, slots=True)
class Keyed:
    """The result of the drill with keys. Rates are events a second, from the first post to the last delivery."""

    events: int
    keys: int
    requests: int
    out_of_order: list[str]
    """Events that were requested after a later one of their key."""
    lost: list[str]
    """Events that were not delivered: all are posted until they are accepted."""
    shared_rate: float
    """Unordered events a second, which share runs."""
    own_rate: float
    """Unordered events a second with a run each, as ordered ones have."""
    rate: float
    """Ordered events a second, until all processes are killed for the first time."""
    seconds: float

    @property
    def passed(self) -> bool:
        return not (self.out_of_order or self.lost)


class OwnRuns(LoadGenerator):
    """Posts events that share no run: their ids look as if they had been generated."""

    def event(self, n: int) -> dict[str, Any]:
        """Return the n-th event."""
        return super().event(n) | {"id": f"evt_{sha256(f'{self.seed} {n}'.encode()).hexdigest()[:24]}"}


async def run_with_keys(seed: int, events: int, keys: int, report: Report, shape: Shape = EMBEDDED) -> Keyed:
    """Post unordered events, then those of many keys, and kill all processes twice."""
    part = int(events * KILLS[0])
    async with environment(seed, shape) as env:
        async with asyncio.timeout(3 * BASE_TIMEOUT + events * TIMEOUT_PER_EVENT):
            rates = []
            unordered = await env.register("unordered", _fail_some(seed), retry=RETRIES)
            for kind in (LoadGenerator, OwnRuns):
                report(f"posting {part} unordered events ({'shared runs' if kind is LoadGenerator else 'a run each'})")
                rates.append(await _throughput(env, kind(env.http, TENANT, seed - 1), part))
            (await env.http.delete(f"/v1/webhooks/{unordered}")).raise_for_status()
            await env.register(
                "ordered", _fail_some(seed), retry=RETRIES, ordered={"key": f"string(event.data.n % {keys})"}
            )
            return await _deliver_keys(env, events, keys, rates, report)


async def _deliver_keys(env: Environment, events: int, keys: int, rates: list[float], report: Report) -> Keyed:
    before, began = len(env.receivers.requests), time.time()
    report(f"posting {events} events of {keys} keys")
    posting = asyncio.create_task(_post_in_order(env.load, events, keys))
    found: list[float] = []
    for part in KILLS:
        count = int(part * events)
        await _until_delivered(env.receivers, count, before)
        found.append(count / (time.time() - began))
        report(f"{count} are delivered; killing all processes")
        await env.kill_everything()
    await posting
    report("all are posted; waiting for the last ones")
    with suppress(TimeoutError):
        async with asyncio.timeout(BASE_TIMEOUT * 5):
            await _until_delivered(env.receivers, events, before)
    requests = sorted(env.receivers.requests[before:], key=lambda request: request.arrived)
    delivered = {request.event_id for request in requests if request.is_delivery}
    seconds = max(request.ended for request in requests) - began
    lost = [event_id for n in range(events) if (event_id := env.load.event(n)["id"]) not in delivered]
    shared, own = rates
    return Keyed(events, keys, len(requests), _out_of_order(requests, keys), lost, shared, own, found[0], seconds)


def _out_of_order(requests: list[ReceivedRequest], keys: int) -> list[str]:
    """Return the events that were requested after a later one of their key."""
    latest: dict[int, int] = {}
    found = []
    for request in requests:
        n = int(request.event_id.rpartition("-")[2])
        if n < latest.get(n % keys, 0):
            found.append(request.event_id)
        latest[n % keys] = max(n, latest.get(n % keys, 0))
    return found


async def _throughput(env: Environment, load: LoadGenerator, events: int) -> float:
    """Post events; return how many a second were delivered."""
    before, began = len(env.receivers.requests), time.time()
    await _post_in_order(load, events, POSTERS)
    await _until_delivered(env.receivers, events, before)
    return events / (max(request.ended for request in env.receivers.requests[before:]) - began)


async def _post_in_order(load: LoadGenerator, events: int, keys: int) -> None:
    """Post the events of each key one after another."""

    async def post(numbers: Iterable[int]) -> None:
        for n in numbers:
            await load.send(n, BASE_TIMEOUT * 5)

    async with asyncio.TaskGroup() as posters:
        for poster in range(min(POSTERS, keys)):
            posters.create_task(post([n for n in range(events) if n % keys % POSTERS == poster]))


def _fail_some(seed: int) -> Answers:
    """Fail each twentieth request, at random."""

    def answer(event_id: str, number: int) -> PlannedAnswer:
        return PlannedAnswer(503 if Random(f"{seed} {event_id} {number}").random() < FAILURES else 200, 0.0)

    return answer


async def run(seed: int, events: int, report: Report, shape: Shape = EMBEDDED) -> Ordered:
    """Post events one after another, and kill all workers twice."""
    async with environment(seed, shape) as env:
        webhook = await env.register("ordered", _fail_every_third(), retry=RETRIES)
        (await env.http.patch(f"/v1/webhooks/{webhook}", json={"ordered": True})).raise_for_status()
        async with asyncio.timeout(BASE_TIMEOUT + events * TIMEOUT_PER_EVENT):
            return await _deliver(env, events, report)


async def _deliver(env: Environment, events: int, report: Report) -> Ordered:
    began = time.time()
    report(f"posting {events} events, one after another")
    posting = asyncio.create_task(_post(env, events))
    for part in KILLS:
        await _until_delivered(env.receivers, int(part * events))
        report(f"{int(part * events)} are delivered; killing all workers")
        await env.kill_workers()
    await posting
    await _until_delivered(env.receivers, events)
    requests = sorted(env.receivers.requests, key=lambda request: request.arrived)
    seconds = max(request.ended for request in requests) - began
    accepted = [event.event_id for event in env.load.accepted]
    return Ordered(accepted, requests, len(env.faults.windows), seconds, await _count_open(env, accepted))


def _fail_every_third() -> Answers:
    """Fail each third request, of any event."""
    count = itertools.count(1)
    return lambda event_id, number: PlannedAnswer(503 if next(count) % 3 == 0 else 200, RESPONSE_DELAY)


async def _post(env: Environment, events: int) -> None:
    for n in range(events):
        await env.load.send(n, BASE_TIMEOUT)


async def _until_delivered(receivers: Receivers, events: int, before: int = 0) -> None:
    """Wait until this many events are delivered, apart from the requests before."""
    delivered: set[str] = set()
    while len(delivered) < events:
        await asyncio.sleep(0.02)
        new, before = receivers.requests[before:], len(receivers.requests)
        delivered |= {request.event_id for request in new if request.is_delivery}


async def _count_open(env: Environment, event_ids: list[str]) -> int:
    """Count the events that do not become `succeeded`."""
    left = set(event_ids)
    try:
        async with asyncio.timeout(BASE_TIMEOUT / 4):
            while left:
                for event_id in sorted(left):
                    response = await env.http.get(f"/v1/events/{event_id}", params={"tenant": TENANT})
                    if response.is_success and response.json()["status"] == "succeeded":
                        left.discard(event_id)
                await asyncio.sleep(0.1)
    except TimeoutError:
        return len(left)
    return 0
