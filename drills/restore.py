"""The restore drill: what each restore loses, delivers twice or leaves undone, and what mends it.

PostgreSQL with three databases, the real Temporal server, a worker and the API. Events are posted before, while and
after backups are made; then everything is killed, and what is left is restored in different ways.
"""

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cli.console import Failed
from drills import stack, temporal_cluster
from drills.answers import always
from drills.drill import Options, Outcome, print_step
from drills.environment import TENANT, until
from drills.event_log import list_events
from drills.postgres import own
from drills.receiver import Receivers, receiving
from drills.restorable import ADMIN_KEY, CASES, DATABASES, PROMOTED, Case, Site, hookkeeper_command, kill, run_command
from drills.supervisor import Supervisor
from drills.verdict import RECORDING_TIME
from hookkeeper.asyncio_tasks import in_background

EVENTS = 40
"""Events of each kind that are posted before the backups are made, while they are made, and after."""
RATE = 10.0
KINDS = ("takes", "later", "waits")
"""Webhooks: one answers 2xx, one only after the backups, and one only after the restore."""
NEW = "new"
"""A webhook that is registered after the backups, and answers 2xx only after the restore."""
RETRY: dict[str, Any] = {"schedule": [8.0] * 49}
QUIET = 12.0
"""Seconds without a request after which nothing is expected: longer than a pause between attempts."""
TIMEOUT = 180.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What was observed after a restore. Each event has one delivery."""

    case: Case
    seconds: float
    """From the first command until everything is ready."""
    before: Set[str]
    """Events that were accepted before the moment of the backup, and since."""
    since: Set[str]
    recorded: float
    """Until when the restored Temporal has recorded deliveries."""
    delivered: Mapping[str, float]
    """When events were delivered before everything was killed."""
    again: Set[str]
    """Delivered after the restore, before they were posted again."""
    listed: Set[str]
    reindexed: Set[str]
    """Events in the list after `hookkeeper reindex`."""
    lost: Set[str]
    """Accepted as new when they were posted again."""
    statuses: Mapping[str, str]
    """Statuses at the end, or statuses of responses."""

    @property
    def counts(self) -> dict[str, int]:
        known = (self.before | self.since) - self.lost
        return {
            "before": len(self.before),
            "lost": len(self.before & self.lost),
            "since": len(self.since),
            "lost since": len(self.since & self.lost),
            "twice": len(self.delivered.keys() & self.again),
            "cancelled": sum(status == "cancelled" for status in self.statuses.values()),
            "unlisted": len(known - self.listed),
            "after reindex": len(known - self.reindexed),
            "listed, no run": len(self.lost & self.reindexed),
        }

    @property
    def failures(self) -> dict[str, list[str]]:
        """Return what must not happen, by kind."""
        twice = self.delivered.keys() & self.again
        found = {
            "lost": self.before & self.lost,
            "not listed after reindex": (self.before | self.since) - self.lost - self.reindexed,
            "delivered twice without a reason": {id_ for id_ in twice if self.delivered[id_] < self.recorded},
            "not delivered": {id_ for id_, status in self.statuses.items() if status not in ("succeeded", "cancelled")},
        }
        return {name: sorted(events) for name, events in found.items() if events}


@dataclass
class Posted:
    """A tenant's backend, which knows what it has posted and which answers it got."""

    http: httpx.AsyncClient
    accepted: dict[str, float] = field(default_factory=dict)
    """When each event was accepted."""

    async def post(self, kinds: Sequence[str], count: int, name: str) -> None:
        async with asyncio.TaskGroup() as posts:
            for n in range(count):
                for kind in kinds:
                    posts.create_task(self.send(f"{kind}-{name}-{n}"))
                    await asyncio.sleep(1 / RATE)

    async def send(self, event_id: str) -> int:
        """Post an event; return the status, or 0 without an answer."""
        event = {"id": event_id, "type": f"drill.{event_id.split('-')[0]}", "tenant": TENANT, "data": {"id": event_id}}
        with suppress(httpx.TransportError):
            status = (await self.http.post("/v1/events", json=event)).status_code
            if status == 202:
                self.accepted.setdefault(event_id, time.time())
            return status
        return 0


async def run(options: Options) -> Outcome:
    """Post events, make backups, kill everything, and restore it in each way. Raises `Failed`."""
    if reason := temporal_cluster.why_missing():
        raise Failed(reason)
    async with AsyncExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="hk-restore-")))
        own(folder)
        site, receivers = Site(folder), await resources.enter_async_context(receiving())
        replica = await resources.enter_async_context(Supervisor(folder / "logs-replica"))
        posted = Posted(await resources.enter_async_context(stack.client(site.api, ADMIN_KEY, timeout=20)))
        moment = await _live(site, replica, receivers, posted, options.events or EVENTS)
        ended, found = time.time(), list[Restored]()
        _answer(receivers, {*KINDS, NEW})
        for case in CASES:
            print_step(f"restoring: {case.name}")
            found.append(await _restore(site, case, replica, receivers, posted, moment, ended))
    return Outcome(
        columns=("<", *found[0].counts, "ready"),
        rows={each.case.name: (*each.counts.values(), f"{each.seconds:.0f} s") for each in found},
        failures={f"{each.case.name}: {name}": events for each in found for name, events in each.failures.items()},
    )


async def _live(site: Site, replica: Supervisor, receivers: Receivers, posted: Posted, events: int) -> float:
    """Use an installation, back it up, and kill it; return the moment of the backup."""
    async with Supervisor(site.folder / "logs-primary") as databases:
        await site.prepare(databases, replica)
        async with site.running(site.primary, PROMOTED) as processes:
            _answer(receivers, {"takes"})
            for kind in KINDS:
                await _register(posted, receivers, kind)
            print_step(f"posting {len(KINDS) * events} events")
            await posted.post(KINDS, events, "before")
            moment = time.time()
            print_step("dumping, while others are posted")
            async with asyncio.TaskGroup() as work:
                work.create_task(posted.post(KINDS, events, "meanwhile"))
                for database in DATABASES:
                    await site.dump(database)
            _answer(receivers, {"takes", "later"})
            await _register(posted, receivers, NEW)
            print_step("posting after the backups, until everything is killed")
            await posted.post((NEW, *KINDS), events, "after")
            async with in_background(posted.post(KINDS, 10 * events, "end"), "post until the end"):
                await asyncio.sleep(10)
                await kill(processes, "api", "worker", "temporal")
                await kill(databases, site.primary.folder.name)
    return moment


async def _restore(
    site: Site,
    case: Case,
    replica: Supervisor,
    receivers: Receivers,
    posted: Posted,
    moment: float,
    ended: float,
) -> Restored:
    began = time.time()
    async with AsyncExitStack() as resources:
        if case is PROMOTED:
            server, moment = site.replica, ended  # nothing that was accepted may be missing
            await server.postgres.ask("SELECT pg_promote()")
        else:
            server = site.server(f"restored-{CASES.index(case)}", 10 + CASES.index(case))
            databases = await resources.enter_async_context(Supervisor(server.folder / "logs"))
            await site.restore(case, server, databases, moment)
        await resources.enter_async_context(site.running(server, case))
        seconds = time.time() - began
        expected = {id_ for id_, at in posted.accepted.items() if at < moment}
        await _settle(receivers, expected)
        settled = time.time()
        listed = await _list(posted)
        await run_command(hookkeeper_command("reindex"), **site.variables(server, case))
        reindexed = await _list(posted)
        lost = await _post_again(posted)
        statuses = await _statuses(posted)
        if case is PROMOTED:
            await replica.stop()
    requests = [request for request in receivers.requests if request.is_delivery]
    return Restored(
        case,
        seconds,
        before=expected,
        since={*posted.accepted} - expected,
        recorded=(moment if case.temporal_is_older else ended) - RECORDING_TIME,
        delivered={request.event_id: request.ended for request in requests if request.arrived < ended},
        again={request.event_id for request in requests if began < request.arrived < settled},
        listed=listed,
        reindexed=reindexed,
        lost=lost,
        statuses=statuses,
    )


def _answer(receivers: Receivers, accepting: set[str]) -> None:
    """Let these webhooks take what they get, and the others refuse it."""
    receivers.answers |= {kind: always(200 if kind in accepting else 503) for kind in (*KINDS, NEW)}


async def _register(posted: Posted, receivers: Receivers, kind: str) -> None:
    answer = receivers.answers[kind]
    await receivers.register(posted.http, kind, answer, tenant=TENANT, events=[f"drill.{kind}"], retry=RETRY)


async def _settle(receivers: Receivers, expected: set[str]) -> None:
    """Wait until all of these are delivered, or `TIMEOUT` passes, and no more requests come."""
    began = time.time()

    def is_settled() -> bool:
        delivered = {request.event_id for request in receivers.requests if request.is_delivery}
        return time.time() - max(began, receivers.latest()) > QUIET and expected <= delivered

    await until(is_settled, TIMEOUT)


async def _list(posted: Posted) -> Set[str]:
    """Return the ids of all events in the list."""
    return (await list_events(posted.http, TENANT)).keys()


async def _post_again(posted: Posted) -> set[str]:
    """Post each accepted event once more, until it is answered; return those that were accepted as new."""
    unknown = set[str]()
    for event_id in posted.accepted:
        async with asyncio.timeout(TIMEOUT):
            while (status := await posted.send(event_id)) not in (200, 202):
                await asyncio.sleep(1)
        if status == 202:
            unknown.add(event_id)
    return unknown


async def _statuses(posted: Posted) -> dict[str, str]:
    """Return the last status of each accepted event, or that of the response, once none is being delivered."""
    found, began = dict.fromkeys(posted.accepted, "delivering"), time.time()
    while (open_ := [id_ for id_, status in found.items() if status == "delivering"]) and time.time() - began < TIMEOUT:
        for event_id in open_:
            response = await posted.http.get(f"/v1/events/{event_id}", params={"tenant": TENANT})
            found[event_id] = response.json()["status"] if response.is_success else str(response.status_code)
        await asyncio.sleep(1)
    return found
