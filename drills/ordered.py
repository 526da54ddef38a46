"""The ordering drill: events of an ordered webhook arrive in order, though requests fail and all workers die twice."""

import asyncio
import itertools
import time
from dataclasses import dataclass

from drills.answers import PlannedAnswer
from drills.environment import TENANT, Environment, Report, environment
from drills.observations import ReceivedRequest
from drills.receiver import Answers, Receivers
from drills.schedule import WORKERS

RESPONSE_DELAY = 0.05
"""Seconds that the receiver takes, so that a request is in flight at each kill."""
KILLS = (1 / 3, 2 / 3)
"""All workers are killed when these parts of the events have been delivered."""
RETRIES = {"schedule": [0.2] * 49}
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


async def run(seed: int, events: int, report: Report) -> Ordered:
    """Post events one after another, and kill all workers twice."""
    async with environment(seed) as env:
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


async def _until_delivered(receivers: Receivers, events: int) -> None:
    while len({request.event_id for request in receivers.requests if request.is_delivery}) < events:
        await asyncio.sleep(0.02)


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
