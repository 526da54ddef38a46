"""The stores drill: Temporal stands still, is away, loses its database, and is replaced by an older copy of it.

Events are accepted meanwhile, and everything that was accepted is delivered: nothing is lost, lines keep their order,
and what was delivered before is sent again only where Temporal has forgotten that.
"""

import asyncio
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from drills.answers import always
from drills.drill import Options, Outcome, print_step, unmet
from drills.environment import TENANT, Environment, environment, until
from drills.event_log import list_events
from drills.neighbour import quantile
from drills.restorable import hookkeeper_command, run_command
from drills.shape import WORKERS
from hookkeeper.asyncio_tasks import wait_for_all

RATE, SECONDS = 20.0, 20.0
LONG_SECONDS = 300.0
"""For which Temporal is away with `--long`."""
ACCEPT_LIMIT = 0.05
"""Seconds in which 95 % of events are accepted while Temporal is away."""
NOT_READY_LIMIT = 10.0
"""Seconds in which the API notices that Temporal is new."""
DELIVERY_TIMEOUT = 240.0
EVENTS = 20
"""Events in each state when Temporal loses its database."""
LINES = 5
RETRY: dict[str, Any] = {"schedule": [3.0] * 49}
LARGE = "x" * 20_000
"""Data of an event that has a run of its own."""
DATABASE = "temporal.db"
FINISHED = "finished"
Outage = Callable[[Environment], AbstractAsyncContextManager[None]]
STATES = ("retrying", "held", "ordered", "scheduled", "large", FINISHED)


@dataclass
class Drill:
    """What was posted, and how long it took."""

    env: Environment
    posted: list[str] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    async def post(self, event_id: str, kind: str, **fields: Any) -> None:
        """Post an event to the webhook of this name, once."""
        event = {"id": event_id, "type": f"drill.{kind}", "tenant": TENANT, "data": {}, **fields}
        begin = time.monotonic()
        answer = await self.env.http.post("/v1/events", json=event)
        self.durations.append(time.monotonic() - begin)
        if answer.status_code == 202:
            self.posted.append(event_id)
        else:
            self.refused.append(f"{event_id}: {answer.status_code}")

    async def post_steadily(self, name: str, seconds: float, rate: float) -> float:
        """Post events at a rate; return the time in which 95 % of them were answered."""
        self.durations.clear()
        begin, posts = time.monotonic(), list[asyncio.Task[None]]()
        for n in range(int(seconds * rate)):
            await asyncio.sleep(begin + n / rate - time.monotonic())
            posts.append(asyncio.create_task(self.post(f"{name}-{n}", "quick")))
        await wait_for_all(posts)
        return quantile(self.durations, 0.95)

    async def command(self, event_id: str, command: str) -> None:
        """Send a command. One whose answer was late is repeated, and refused if it took effect."""
        answer = await self.env.request("POST", f"/v1/events/{event_id}/{command}?tenant={TENANT}", {})
        if answer.status_code != 409:
            answer.raise_for_status()

    def delivered(self) -> Counter[str]:
        """Return how often each event was delivered."""
        return Counter(request.event_id for request in self.env.receivers.requests if request.is_delivery)

    async def until_delivered(self, outage: float = 0.0) -> bool:
        """Wait until all is delivered, for longer after a longer outage; return whether it is."""
        return await until(lambda: self.delivered().keys() >= {*self.posted}, DELIVERY_TIMEOUT + outage)


async def run(options: Options) -> Outcome:
    """Take Temporal away in each way; then compare what was accepted with what was delivered."""
    events, seconds, rate = options.events or EVENTS, options.seconds or SECONDS, options.rate or RATE
    rows: dict[str, object] = {}
    met: dict[str, bool] = {}
    async with environment(options.seed, folder=options.keep) as env:
        drill = Drill(env)
        await env.register("quick", always(200), events=["drill.quick"])
        for number, (what, outage, length) in enumerate(_outages(seconds, long=options.long)):
            name = f"{what} for {length:g} s"
            print_step(f"Temporal {name}, at {rate:g} events/s")
            async with outage(env):
                p95 = await drill.post_steadily(f"outage{number}-{options.seed}", length, rate)
            rows[f"accepted while Temporal {name}, 95 % within"] = f"{p95 * 1000:.0f} ms"
            met[f"events were accepted late while Temporal {name}"] = p95 <= ACCEPT_LIMIT * options.factor
            met[f"not all were delivered after Temporal {name}"] = await drill.until_delivered(length)
        twice = [event_id for event_id, count in drill.delivered().items() if count > 1]

        print_step(f"Temporal loses its database, with {events} events in each state")
        await _prepare(drill, "lost", events)
        async with _replaced(env, _removed):
            begin = time.monotonic()
            while (await env.http.get("/readyz")).status_code != 503 and time.monotonic() - begin < 60:
                await asyncio.sleep(0.2)
            rows["not ready after"] = f"{time.monotonic() - begin:.1f} s"
            met["the API was ready with a new Temporal"] = time.monotonic() - begin <= NOT_READY_LIMIT
            await _command(env, "adopt")
        await _go_on(drill, "lost", events)
        met["not all were delivered after the loss"] = await drill.until_delivered()
        twice += [event_id for event_id, count in drill.delivered().items() if count > 1 and event_id not in twice]
        met["finished events cannot be read"] = await _are_read(drill, "lost", events)

        print_step("Temporal is replaced by an older copy")
        copy = env.cluster.stack.data_dir / "copy"
        await _prepare(drill, "before", events)
        async with _replaced(env, lambda folder: shutil.copytree(folder, copy, ignore=_no_database)):
            pass
        await _go_on(drill, "before", events)
        met["not all were delivered before the copy is used"] = await drill.until_delivered()
        before = drill.delivered()
        await _prepare(drill, "after", events)
        async with _replaced(env, lambda folder: _restored(folder, copy)):
            pass
        await _command(env, "reindex")
        for name in ("before", "after"):
            await _go_on(drill, name, events)
        met["not all were delivered after the restore"] = await drill.until_delivered()
        await asyncio.sleep(RETRY["schedule"][0] * 3)
        delivered = drill.delivered()
        forgotten = {
            event_id for event_id in drill.posted if event_id.startswith("before-") and FINISHED not in event_id
        }
        again = {event_id for event_id, count in delivered.items() if count > 1} - {*twice}
        listed = await list_events(env.http, TENANT)
        requests = sorted(env.receivers.requests, key=lambda request: request.arrived)
    first = list(dict.fromkeys(request.event_id for request in requests if request.is_delivery))
    # What the copy has open may wait for ten minutes for those ahead of it in its line.
    finished = {event_id for event_id, event in listed.items() if event["status"] == "succeeded"}
    since = {event_id for event_id in drill.posted if event_id.startswith("after-")}
    unfinished = [event_id for event_id in drill.posted if event_id not in finished | forgotten]
    return Outcome(
        rows={
            "events accepted": len(drill.posted),
            **rows,
            "delivered twice": len(twice) + len(again),
            "  as the older copy had them open": len(again & forgotten),
        },
        failures={
            "refused": drill.refused,
            "not delivered": [event_id for event_id in drill.posted if not delivered[event_id]],
            "not finished in the list": unfinished,
            "delivered twice": [*twice, *sorted(again - forgotten)],
            "out of order": _out_of_order(first),
            "wrong": unmet({**met, "the copy was not older": len(before) > 0}),
        },
        notes=(
            f"Of {len(since)} events accepted since the older copy, {len(since & delivered.keys())} were delivered:"
            " `reindex` starts those again from their rows that were not finished.",
        ),
    )


async def _prepare(drill: Drill, name: str, events: int) -> None:
    """Bring events into each state. Those that are posted at once share runs."""
    env = drill.env
    for state in STATES:
        fields: dict[str, Any] = {"ordered": {"key": "event.data.line"}} if state == "ordered" else {}
        answer = always(200 if state in (FINISHED, "scheduled") else 503)
        if name == "lost":
            await env.register(state, answer, RETRY, events=[f"drill.{state}"], **fields)
        else:
            env.receivers.answers[state] = answer
    due = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    data: dict[str, Callable[[int], dict[str, Any]]] = {
        "ordered": lambda n: {"data": {"line": f"{name}-{n % LINES}"}},
        "scheduled": lambda n: {"deliver_at": due},
        "large": lambda n: {"data": {"text": LARGE}},
    }
    for state in STATES:
        own = data.get(state)
        posts = [drill.post(f"{name}-{state}-{n}", state, **(own(n) if own else {})) for n in range(events)]
        if state == "ordered":
            for post in posts:
                await post
        else:
            await wait_for_all(posts)
    for n in range(events):
        for state in ("retrying", "held", "large", *(["ordered"] if n < LINES else [])):
            await _until_status(env, f"{name}-{state}-{n}", "retrying")
        await drill.command(f"{name}-held-{n}", "hold")
    await until(lambda: drill.delivered().keys() >= {f"{name}-{FINISHED}-{n}" for n in range(events)}, DELIVERY_TIMEOUT)
    await asyncio.sleep(2.0)  # until what was delivered is recorded


async def _go_on(drill: Drill, name: str, events: int) -> None:
    """Let all receivers accept, and release what is held."""
    for state in STATES:
        drill.env.receivers.answers[state] = always(200)
    for n in range(events):
        await drill.command(f"{name}-held-{n}", "release")


async def _are_read(drill: Drill, name: str, events: int) -> bool:
    for n in range(events):
        answer = await drill.env.http.get(f"/v1/events/{name}-{FINISHED}-{n}?tenant={TENANT}")
        if answer.status_code != 200 or answer.json()["status"] != "succeeded":
            return False
    return True


async def _until_status(env: Environment, event_id: str, status: str) -> None:
    path = f"/v1/events/{event_id}?tenant={TENANT}"
    await env.until(path, lambda event: event["deliveries"][0]["status"] == status)


def _outages(seconds: float, *, long: bool) -> list[tuple[str, Outage, float]]:
    """Return in which ways Temporal goes, and for how many seconds."""
    usual: list[tuple[str, Outage, float]] = [("stands still", _frozen, seconds), ("is away", _stopped, seconds)]
    return [*usual, ("is away", _stopped, LONG_SECONDS)] if long else usual


@asynccontextmanager
async def _frozen(env: Environment) -> AsyncIterator[None]:
    pid = env.cluster.signal("temporal", signal.SIGSTOP)
    try:
        yield
    finally:
        env.cluster.signal("temporal", signal.SIGCONT, pid)


@asynccontextmanager
async def _stopped(env: Environment) -> AsyncIterator[None]:
    supervisor = env.cluster.stack.supervisor
    await supervisor.end("temporal")
    yield
    await supervisor.start(env.cluster.stack.services["temporal"])


@asynccontextmanager
async def _replaced(env: Environment, change: Callable[[Path], object]) -> AsyncIterator[None]:
    """Change Temporal's folder while it and the workers are stopped. They start after the block; Temporal before it."""
    stack = env.cluster.stack
    for name in (*WORKERS, "temporal"):
        await stack.supervisor.end(name)
    change(stack.data_dir)
    await stack.supervisor.start(stack.services["temporal"])
    yield
    await asyncio.gather(*(stack.supervisor.start(stack.services[name]) for name in WORKERS))


def _removed(folder: Path) -> None:
    for file in folder.glob(f"{DATABASE}*"):
        file.unlink()


def _restored(folder: Path, copy: Path) -> None:
    _removed(folder)
    for file in copy.glob(f"{DATABASE}*"):
        shutil.copy(file, folder)


def _no_database(folder: str, names: Sequence[str]) -> list[str]:
    """Ignore all files but Temporal's."""
    return [name for name in names if not name.startswith(DATABASE)]


async def _command(env: Environment, command: str) -> None:
    await run_command(hookkeeper_command(command), **env.cluster.stack.services["api"].env)


def _out_of_order(first: Sequence[str]) -> list[str]:
    """Return the ordered events that were first delivered before an earlier one of their line."""
    latest: dict[tuple[str, int], int] = {}
    found: list[str] = []
    for event_id in first:
        name, *state, number = event_id.split("-")
        if state == ["ordered"]:
            line = (name, int(number) % LINES)
            if int(number) < latest.get(line, -1):
                found.append(event_id)
            latest[line] = int(number)
    return found
