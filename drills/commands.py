"""The commands drill: each command to events in each state, while Temporal, the workers, the API or all are killed.

After each kill, lists have to agree with runs. In the end, so has what the receivers got.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx

from drills.answers import PlannedAnswer, always
from drills.drill import Options, Outcome, print_step
from drills.environment import STUCK_TIMEOUT, TENANT, Environment, environment
from drills.event_log import list_events, read_json
from drills.observations import ReceivedRequest
from drills.schedule import Fault
from drills.shape import WORKERS

EVENTS, SENDERS = 90, 20
"""Events that get a command beside each kill, and commands that are sent at the same time."""
STATES: dict[str, tuple[str, ...]] = {
    "retrying": ("cancel", "hold", "retry", "redeliver"),
    "held": ("cancel", "release", "retry", "redeliver"),
    "scheduled": ("cancel", "hold", "release", "reschedule"),
    "ordered": ("cancel", "hold"),
    "in-flight": ("cancel", "hold", "retry", "redeliver"),
}
"""Commands by the state of an event. Those in flight share runs; another one waits behind each that is ordered."""
PAIRS = [(state, command) for state, commands in STATES.items() for command in commands]
BEHIND = "-behind"
"""Ends the id of an event that waits behind another one."""
DUE_AFTER, MOVED_BY, IN_FLIGHT = 240.0, 30.0, 6.0
"""Seconds after which an event is sent that was not cancelled, more if it is moved; and of a request in flight."""


@dataclass
class Sent:
    """An event and its command."""

    id: str
    state: str
    command: str
    moved_to: datetime
    answer: int | None = None
    cancelled_since: float = float("inf")
    """When a list first called it cancelled."""

    def is_done(self, event: dict[str, Any]) -> bool:
        """Return whether the event shows that the command was applied."""
        (delivery,) = event["deliveries"]
        status: str = delivery["status"]
        match self.command:
            case "cancel" | "hold":
                return status == {"cancel": "cancelled", "hold": "held"}[self.command]
            case "release":
                return status != "held" and bool(event["status"] != "scheduled")
            case "reschedule":
                return datetime.fromisoformat(event["deliver_at"]) == self.moved_to
        return any(attempt["trigger"] == "manual" for attempt in delivery["attempts"])


async def run(options: Options) -> Outcome:
    """Send commands and kill processes, one group of them after the other; then compare."""
    events, rows, found, sent = options.events or EVENTS, {}, {}, list[Sent]()
    async with environment(options.seed, options.shape) as env:
        for state in STATES:
            fields: dict[str, Any] = {"ordered": {"key": "event.data.line"}} if state == "ordered" else {}
            answer = _fail_first_of_line if state == "ordered" else always(500, IN_FLIGHT * (state == "in-flight"))
            await env.register(
                state, answer, {"schedule": [DUE_AFTER] * 9}, events=[f"drill.{state}"], timeout=15, **fields
            )
        shape = env.cluster.shape
        for name, killed in {
            "Temporal": shape.temporal,
            "workers": WORKERS,
            "API": shape.apis,
            "all": shape.targets,
        }.items():
            print_step(f"{events} commands, {name} killed meanwhile")
            group = await _prepare(env, f"{options.seed}-{name}", events)
            Random(options.seed).shuffle(group)
            await _command_and_kill(env, group, killed)
            found[f"different after the kill: {name}"] = different = await _differences(env, group)
            answers = Counter(each.answer for each in group)
            rows[name] = (answers[202], events - answers[202], len(different))
            sent += group
        print_step("waiting until all is due that was not cancelled")
        await asyncio.sleep(DUE_AFTER + MOVED_BY)
        found["different in the end"] = await _differences(env, sent)
        requests = sorted(env.receivers.requests, key=lambda request: request.arrived)
    cancelled = {each.id: each.cancelled_since for each in sent}
    behind = [each for each in reversed(requests) if each.event_id.endswith(BEHIND)]
    passed = {each.event_id.removesuffix(BEHIND): each.arrived for each in behind}
    found["sent although a list called it cancelled"] = requested_after(cancelled, requests)
    found["sent after the one behind it"] = requested_after(passed, requests)
    return Outcome(rows, found, ("<killed", "answered 202", "other answers", "differences"))


def _fail_first_of_line(event_id: str, number: int) -> PlannedAnswer:
    return PlannedAnswer(200 if event_id.endswith(BEHIND) else 500, 0.0)


async def _prepare(env: Environment, prefix: str, events: int) -> list[Sent]:
    """Post events, and bring each into its state; return them with their commands."""
    deliver_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=DUE_AFTER)
    moved_to = deliver_at + timedelta(seconds=MOVED_BY)
    group = [Sent(f"{prefix}-{n}", *PAIRS[n % len(PAIRS)], moved_to) for n in range(events)]
    in_state = {state: [each.id for each in group if each.state == state] for state in STATES}

    async def post(state: str, suffix: str = "") -> None:
        fields = {"deliver_at": deliver_at.isoformat()} if state == "scheduled" else {}
        for event_id in in_state[state]:
            event = {"id": event_id + suffix, "type": f"drill.{state}", "tenant": TENANT, "data": {"line": event_id}}
            (await env.request("POST", "/v1/events", event | fields)).raise_for_status()

    await asyncio.gather(*(post(state) for state in STATES if state != "in-flight"))
    await post("ordered", BEHIND)
    for event_id in (*in_state["retrying"], *in_state["held"], *in_state["ordered"]):
        path = f"/v1/events/{event_id}?tenant={TENANT}"
        await env.until(path, lambda event: event["deliveries"][0]["status"] == "retrying")
    for event_id in in_state["held"]:
        (await env.request("POST", f"/v1/events/{event_id}/hold?tenant={TENANT}", {})).raise_for_status()
    await post("in-flight")
    return group


async def _command_and_kill(env: Environment, group: Sequence[Sent], killed: Collection[str]) -> None:
    """Send each command once, and kill the processes after half of them; return when all are ready again."""
    left = iter(group)

    async def send() -> None:
        for sent in left:
            path, body = f"/v1/events/{sent.id}/{sent.command}?tenant={TENANT}", {}
            if sent.command == "reschedule":
                body = {"deliver_at": sent.moved_to.isoformat()}
            with suppress(httpx.TransportError):
                sent.answer = (await env.http.post(path, json=body)).status_code
            if sent is group[len(group) // 2]:
                await env.faults.inject([Fault(0.0, "kill", name) for name in killed])

    await asyncio.gather(*(send() for _ in range(SENDERS)))
    for name in env.cluster.shape.targets:
        await env.cluster.until_ready(name)


async def _differences(env: Environment, sent: Sequence[Sent]) -> list[str]:
    """Return where lists differ from runs, and what was answered with 202 and not done. Each has to agree once."""
    until, left = time.monotonic() + STUCK_TIMEOUT, [(each, "lists cannot be read") for each in sent]
    while left and time.monotonic() < until:
        with suppress(httpx.HTTPError):
            listed = await list_events(env.http, TENANT)
            left = [(each, found) for each, _ in left if (found := await _difference(env, each, listed[each.id]))]
        await asyncio.sleep(1)
    return [found for _, found in left]


async def _difference(env: Environment, sent: Sent, row: dict[str, Any]) -> str | None:
    if row["status"] == "cancelled":
        sent.cancelled_since = min(sent.cancelled_since, time.time())
    about = f"{sent.id}, {sent.state}, {sent.command} answered with {sent.answer}"
    event = await read_json(env.http, f"/v1/events/{sent.id}", tenant=TENANT)
    if event is None:
        return f"{about}: it cannot be read"
    (delivery,), latest = event["deliveries"], row["latest"]
    listed = row["status"], row["deliver_at"], latest["status"], latest["attempts"]
    shown = event["status"], event["deliver_at"], delivery["status"], len(delivery["attempts"])
    is_done = sent.answer != 202 or sent.is_done(event)
    return None if listed == shown and is_done else f"{about}: listed as {listed}, it is {shown}"


def requested_after(times: Mapping[str, float], requests: Sequence[ReceivedRequest]) -> list[str]:
    """Return the events that a receiver got after their times."""
    return sorted({each.event_id for each in requests if each.arrived > times.get(each.event_id, each.arrived)})
