"""The index drill: events with random outcomes and commands while processes are killed. Each event is listed as soon as
it is accepted. As soon as all runs have closed, lists and statistics agree with a recount of all events.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any

import httpx
from temporalio.client import Client
from temporalio.service import RPCError

from drills import answers
from drills.answers import Answers, PlannedAnswer
from drills.drill import Options, Outcome, print_step, unmet
from drills.environment import TENANT, Environment, environment, meanwhile
from drills.event_log import list_events, read_json
from drills.schedule import Fault
from drills.shape import EMBEDDED, REGISTRY, WORKERS
from hookkeeper import temporal_names

EVENTS, RATE = 2000, 20.0
KILLED = (*WORKERS, "api", REGISTRY)
KILL_EVERY = 10.0
COMMAND_EVERY, CONCURRENT_COMMANDS = 0.1, 5
LATEST = 40
"""Commands are for one event in this many, of which some are still open."""
COMMANDS = ("retry", "cancel", "redeliver", "redeliver", "hold")
FINAL_TIMEOUT = 900.0
"""Seconds in which all events become final after the last one was posted."""
CLOSE_TIMEOUT = 60.0
"""Seconds in which all runs close then: a record may have to be repeated, or its worker was killed."""
OPEN_RUNS = f"ExecutionStatus = 'Running' AND WorkflowType != '{temporal_names.INSTALLATION}'"
LIST_EVERY = 2.0
"""Seconds between two looks at the list while events are posted."""
HASTY: dict[str, Any] = {"schedule": [1.0, 1.0]}
MAX_CONCURRENT_READS = 8

Counts = dict[str, Counter[str]]
"""Deliveries and attempts, by webhook."""


async def run(options: Options) -> Outcome:
    """Post events, send commands and kill processes; then compare."""
    seed, events, rate = options.seed, options.events or EVENTS, options.rate or RATE
    async with environment(seed) as env:
        since = datetime.now(UTC)
        await env.register("flaky", _flaky_or_hopeless(seed), retry=HASTY)
        await env.register("steady", partial(answers.steady, seed), retry=HASTY)
        print_step(f"posting {events} events in {events / rate:.0f} s, with commands, while processes are killed")
        lists = _ListWatch(env)
        commands = await _post_and_kill(env, lists, seed, events / rate, rate)
        for name in EMBEDDED.targets:
            await env.cluster.until_ready(name)
        print_step("waiting until all events are final")
        # Also those whose POST was never answered: the API may have been killed after it had accepted them.
        event_ids = {*(accepted.event_id for accepted in env.load.accepted), *env.load.unaccepted}
        found = await until_final(env, event_ids, set(env.load.unaccepted))
        print_step("waiting until all runs have closed")
        open_runs = await until_closed(await Client.connect(env.cluster.stack.temporal_address))
        print_step("comparing lists and statistics with all events")
        different = await differences(env, found, since)
    attempts = sum(counts["attempts"] for counts in _recount(found).values())
    unaccepted, unfinished = [*env.load.unaccepted, *env.load.refused], len(event_ids) - len(found)
    return Outcome(
        rows={
            "events": f"{len(found)} ({_named(Counter(event['status'] for event in found))})",
            "attempts": attempts,
            "commands": _named(commands),
            "processes killed": len(env.faults.windows),
            "looks at the list while events were posted": lists.looks,
            "  accepted events that it lacked": len(lists.unlisted),
            "events not accepted": len(unaccepted),
            "events not finished, or never accepted": unfinished,
            "runs that did not close": open_runs,
            "differences as soon as all had closed": len(different),
        },
        failures={
            "not accepted": unaccepted,
            "not listed": sorted(lists.unlisted),
            "differences": different,
            "wrong": unmet(
                {
                    "the list was not read": lists.looks > 0,
                    "not all events were finished": not unfinished,
                    "not all runs closed": not open_runs,
                }
            ),
        },
    )


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _flaky_or_hopeless(seed: int) -> Answers:
    """Answer as a flaky receiver; fail a fifth of the events always."""

    def answer(event_id: str, number: int) -> PlannedAnswer:
        if Random(f"{seed} hopeless {event_id}").random() < 0.2:
            return PlannedAnswer(503, 0.0)
        return answers.flaky(seed, event_id, number)

    return answer


class _ListWatch:
    """Looks whether all accepted events are listed."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.looks = 0
        self.unlisted: set[str] = set()

    async def watch(self) -> None:
        while True:
            accepted = {event.event_id for event in self._env.load.accepted}
            with suppress(httpx.HTTPError):
                listed = await list_events(self._env.http, TENANT)
                self.looks += 1
                self.unlisted |= accepted - listed.keys()
            await asyncio.sleep(LIST_EVERY)


async def _post_and_kill(env: Environment, lists: _ListWatch, seed: int, seconds: float, rate: float) -> Counter[str]:
    random = Random(f"{seed} index")
    times = (n * KILL_EVERY for n in range(1, int(seconds / KILL_EVERY)))
    faults = [Fault(at, "kill", random.choice(KILLED)) for at in times]
    commands: Counter[str] = Counter()
    commanding = (_send_commands(env, random, commands) for _ in range(CONCURRENT_COMMANDS))
    async with meanwhile(lists.watch(), *commanding):
        await asyncio.gather(env.load.post(seconds, rate), env.faults.inject(faults))
    return commands


async def _send_commands(env: Environment, random: Random, commands: Counter[str]) -> None:
    """Send commands to random events among the latest, and count those that were accepted."""
    while True:
        await asyncio.sleep(COMMAND_EVERY)
        if env.load.accepted:
            event_id, command = random.choice(env.load.accepted[-LATEST:]).event_id, random.choice(COMMANDS)
            if await _command(env, event_id, command):
                commands[command] += 1


async def _command(env: Environment, event_id: str, command: str) -> bool:
    with suppress(httpx.TransportError):
        path = f"/v1/events/{event_id}/{command}"
        return (await env.http.post(path, params={"tenant": TENANT}, json={})).is_success
    return False


async def until_final(env: Environment, event_ids: Iterable[str], unanswered: set[str]) -> list[dict[str, Any]]:
    """Release what is held, and wait until all events are finished; return them. Some unanswered ones do not exist."""
    slots = asyncio.Semaphore(MAX_CONCURRENT_READS)

    async def finished(event_id: str) -> dict[str, Any] | None:
        async with slots:
            while True:
                if event_id in unanswered and await _is_unknown(env, event_id):
                    return None
                event = await read_json(env.http, f"/v1/events/{event_id}", tenant=TENANT)
                if event and event["finished_at"]:
                    return event
                if event and any(delivery["status"] == "held" for delivery in event["deliveries"]):
                    await _command(env, event_id, "release")
                await asyncio.sleep(1)

    waiting = [asyncio.create_task(finished(event_id)) for event_id in event_ids]
    done, open_ = await asyncio.wait(waiting, timeout=FINAL_TIMEOUT)
    for task in open_:
        task.cancel()
    return [event for task in done if (event := task.result())]


async def _is_unknown(env: Environment, event_id: str) -> bool:
    with suppress(httpx.TransportError):
        return (await env.http.get(f"/v1/events/{event_id}", params={"tenant": TENANT})).status_code == 404
    return False


async def until_closed(temporal: Client) -> int:
    """Wait until all runs have closed; return how many have not."""
    clock = asyncio.get_running_loop().time
    latest = clock() + CLOSE_TIMEOUT
    while True:
        with suppress(RPCError):
            open_runs = (await temporal.count_workflows(OPEN_RUNS)).count
            if not open_runs or clock() > latest:
                return open_runs
        await asyncio.sleep(0.1)


async def differences(env: Environment, events: list[dict[str, Any]], since: datetime) -> list[str]:
    """Return what lists and statistics say that these events, which are all, do not."""
    listed = {event_id: event["status"] for event_id, event in (await list_events(env.http, TENANT)).items()}
    query = f"tenant={TENANT}&by=webhook&since={since:%Y-%m-%dT%H:%M:%SZ}"
    page = await env.until(f"/v1/stats?{query}", lambda page: True)
    statistics = {item["webhook_id"]: Counter(item["outcomes"] | numbers(item)) for item in page["items"]}
    wanted = {event["id"]: event["status"] for event in events}
    ids = sorted(wanted.keys() | listed.keys())
    of_events = [
        f"{event_id} is listed as {listed.get(event_id)}: it is {wanted.get(event_id)}"
        for event_id in ids
        if listed.get(event_id) != wanted.get(event_id)
    ]
    counted = _recount(events)
    of_counts = [
        f"{webhook} {name}: {statistics.get(webhook, Counter())[name]} in the statistics, {count} in all events"
        for webhook, counts in sorted(counted.items())
        for name, count in sorted(counts.items())
        if statistics.get(webhook, Counter())[name] != count
    ]
    return of_events + of_counts


def _recount(events: Iterable[dict[str, Any]]) -> Counts:
    """Count the deliveries and attempts of all events."""
    found: Counts = {}
    for event in events:
        for delivery in event["deliveries"]:
            counts = found.setdefault(delivery["webhook_id"], Counter())
            counts[f"deliveries_{delivery['status']}"] += 1
            for attempt in delivery["attempts"]:
                error = attempt["error"] or ""
                counts["attempts"] += 1
                counts["succeeded"] += not error
                counts["server_errors"] += error.startswith("http_5")
                counts["timeouts"] += error == "timeout"
                counts["retries"] += attempt["number"] > 1
                counts["requested"] += attempt["trigger"] == "manual"
    return found


def numbers(item: dict[str, Any]) -> dict[str, int]:
    return {name: value for name, value in item.items() if isinstance(value, int)}
