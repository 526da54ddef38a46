"""Two drills of bulk operations: a release and a recovery, each of which all processes are killed midway."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from drills.answers import always
from drills.drill import Numbers, Options, Outcome, print_step, unmet
from drills.environment import TENANT, TIMEOUT, Environment, environment
from drills.event_log import EventLog, list_events
from drills.observations import ReceivedRequest, Window
from drills.verdict import was_in_flight

RELEASED_EVENTS, RECOVERED_EVENTS, RATE = 1000, 2000, 40.0
RECOVERY_RATE = 30.0
"""Events that a recovery redelivers a second."""
DISPLACEMENT_LIMIT = 50
"""Positions by which a released event may deviate from the order of acceptance."""


def summarize(wanted: int, requests: list[ReceivedRequest], windows: list[Window]) -> Outcome:
    """Compare what arrived with what should have arrived once.

    A repeated request is explained if it, or an earlier one of its event, was in flight when everything was killed.
    """
    by_event: dict[str, list[ReceivedRequest]] = {}
    for request in sorted(requests, key=lambda request: request.arrived):
        by_event.setdefault(request.event_id, []).append(request)
    repeated = sum(len(received) - 1 for received in by_event.values())
    unexplained = sum(
        not any(was_in_flight(request, windows) for request in received[: n + 1])
        for received in by_event.values()
        for n in range(1, len(received))
    )
    in_flight = sum(was_in_flight(request, windows) for request in requests)
    return Outcome(
        rows={
            "events received": f"{len(by_event)} of {wanted}",
            "requests repeated": repeated,
            "  unexplained": unexplained,
            "in flight when everything was killed": in_flight,
        },
        failures={
            "events": unmet(
                {
                    "not all were received": len(by_event) == wanted,
                    "a repeated request is unexplained": not unexplained,
                    "more requests were repeated than were in flight": repeated <= in_flight,
                }
            )
        },
        numbers=Numbers(wanted, wanted - len(by_event), None, repeated, f"{in_flight} in flight"),
    )


async def release(options: Options) -> Outcome:
    """Hold events of a paused webhook, resume it, and kill everything while they are released."""
    events = options.events or RELEASED_EVENTS
    async with environment(options.seed, options.shape) as env:
        webhook = await env.register("paused", always(200, 0.02))
        (await env.http.post(f"/v1/webhooks/{webhook}/pause")).raise_for_status()
        await _post(env, events, options.rate or RATE)
        held = f"/v1/webhooks/{webhook}/held"
        await env.until(held, lambda answer: answer["held"] == events)
        print_step("all are held; resuming")
        began = time.time()
        (await env.http.post(f"/v1/webhooks/{webhook}/resume")).raise_for_status()
        await env.until_received(events // 2)
        print_step(f"half of them arrived, {events // 2 / (time.time() - began):.0f} a second; killing everything")
        await _kill_and_finish(env, events)
        await env.until(held, lambda answer: answer["held"] == 0)
        found, displacement = summarize(events, env.receivers.requests, env.faults.windows), await _displacement(env)
    shown = f"{displacement} positions (limit {DISPLACEMENT_LIMIT})"
    wrong = unmet({"an event came too early or too late": displacement <= DISPLACEMENT_LIMIT})
    return _extended(found, {"largest deviation from the order": shown}, wrong, f"displaced by {displacement} at most")


async def recovery(options: Options) -> Outcome:
    """Recover failed events, and kill everything midway. They fail again, so both attempts look the same."""
    events = options.events or RECOVERED_EVENTS
    async with environment(options.seed, options.shape) as env:
        webhook = await env.register("fails", always(503, 0.02), retry={"schedule": []})
        await _post(env, events, options.rate or RATE)
        await env.until_received(events)
        log = EventLog(env.http, TENANT, {webhook: "fails"})
        await log.until_final(TIMEOUT)
        env.receivers.requests.clear()
        started = await _start_recovery(env, webhook)
        await env.until_received(events // 2)
        print_step("half of them are redelivered; killing everything")
        await _kill_and_finish(env, events)
        finished = await env.until(f"/v1/recoveries/{started}", lambda answer: answer["status"] == "finished")
        await log.until_final(TIMEOUT)
        await log.read([accepted.event_id for accepted in env.load.accepted])
        found = summarize(events, env.receivers.requests, env.faults.windows)
    rows = {
        "the recovery": ", ".join(f"{name} {finished[name]}" for name in ("found", "done", "failed", "skipped")),
        "attempts in the log": f"{len(log.attempts)} of {len(log.statuses)} events (wanted: {2 * events})",
    }
    wrong = unmet(
        {
            "not all events were found": finished["found"] == events,
            "not all events were redelivered": finished["done"] == events,
            "not all attempts are in the log": len(log.attempts) == 2 * events,
        }
    )
    return _extended(found, rows, wrong, f"{finished['done']} redelivered")


def _extended(found: Outcome, rows: Mapping[str, object], wrong: list[str], figure: str) -> Outcome:
    numbers = replace(found.numbers, figure=f"{figure}; {found.numbers.figure}")
    return replace(found, rows={**found.rows, **rows}, failures={**found.failures, "wrong": wrong}, numbers=numbers)


async def _post(env: Environment, events: int, rate: float) -> None:
    """Post the events. Raises RuntimeError if not all are accepted: the drill would wait for them in vain."""
    print_step(f"posting {events} events in {events / rate:.0f} s")
    await env.load.post(events / rate, rate)
    if missing := [*env.load.unaccepted, *env.load.refused]:
        raise RuntimeError(f"{len(missing)} of {events} events were not accepted: {', '.join(missing[:10])}")


async def _start_recovery(env: Environment, webhook: str) -> str:
    path, since = f"/v1/webhooks/{webhook}/recover", (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    request = {"since": since, "rate": RECOVERY_RATE}
    preview = (await env.http.post(path, json=request | {"dry_run": True})).raise_for_status().json()
    print_step(f"{preview['found']} are found; recovering {RECOVERY_RATE:g} a second")
    return str((await env.http.post(path, json=request)).raise_for_status().json()["id"])


async def _kill_and_finish(env: Environment, events: int) -> None:
    window = await env.kill_everything()
    print_step(f"everything is back after {window.ended - window.began:.1f} s")
    await env.until_received(events)
    print_step(f"the last one arrived {time.time() - window.ended:.1f} s after that")


async def _displacement(env: Environment) -> int:
    """Return by how many positions an event arrived out of the order of acceptance, at most."""
    listed = await list_events(env.http, TENANT)
    accepted = sorted(listed, key=lambda event_id: listed[event_id]["accepted_at"])
    positions = {event_id: n for n, event_id in enumerate(accepted)}
    requests = sorted(env.receivers.requests, key=lambda request: request.arrived)
    arrived = dict.fromkeys(request.event_id for request in requests)
    return max(abs(n - positions[event_id]) for n, event_id in enumerate(arrived))
