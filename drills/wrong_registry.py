"""The wrong-registry drill: all processes are restarted with the URL of another, empty database while deliveries wait.

Commands refuse it, the API is not ready, the worker ends. Then the namespace is joined to it all the same, as by an
operator who insists, and workers run. Nothing may be cancelled, and with the right URL everything is delivered.
"""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
from sqlalchemy import make_url

from drills.answers import always
from drills.drill import Options, Outcome, print_step, unmet
from drills.environment import TENANT, Environment, environment, until
from drills.event_log import list_events
from drills.restorable import hookkeeper_command
from drills.shape import WORKERS
from drills.supervisor import Service
from hookkeeper.asyncio_tasks import wait_for_all

EVENTS = 60
WEBHOOK = "waits"
RETRY: dict[str, Any] = {"schedule": [2.0] * 49}
DATABASE = "hookeeper"
WORK_TIME = 20.0
"""Seconds in which workers run with the wrong registry: each delivery is due several times."""
START_TIMEOUT = 60.0
NOT_READY_LIMIT = 10.0
"""Seconds from the start of the API with the wrong registry, with that of Python."""
DELIVERY_TIMEOUT = 300.0
"""Seconds until all is delivered: what waits for the registry is tried at least once a minute."""
OTHERS = "HOOKKEEPER_DATABASE_URL or TEMPORAL_NAMESPACE"


async def run(options: Options) -> Outcome:
    """Let deliveries wait, use another registry in each way, and then the right one again."""
    events = options.events or EVENTS
    async with environment(options.seed) as env:
        await env.register(WEBHOOK, always(503), retry=RETRY)
        ids = [f"{WEBHOOK}-{n}" for n in range(events)]
        print_step(f"posting {events} events, which are retried")
        await wait_for_all(_post(env, event_id) for event_id in ids)
        await env.until_received(events)
        right = env.cluster.stack.services
        url = make_url(env.cluster.database.url).set(database=DATABASE).render_as_string(hide_password=False)
        wrong = {
            name: replace(right[name], env={**right[name].env, "HOOKKEEPER_DATABASE_URL": url})
            for name in ("api", *WORKERS)
        }
        await env.cluster.database.ask(f"CREATE DATABASE {DATABASE}")
        print_step("restarting with the URL of an empty database")
        met = await _start_with(env, wrong, options.factor)
        print_step(f"joining the namespace to it, and working for {WORK_TIME:g} s")
        sent = len(env.receivers.requests)
        await _must_end_well("adopt", wrong["api"].env)
        await env.cluster.until_ready("api")
        for name in WORKERS:
            await env.cluster.stack.supervisor.start(wrong[name])
        await asyncio.sleep(WORK_TIME)
        met["a request was made with the wrong registry"] = len(env.receivers.requests) == sent
        print_step("restarting with the right URL")
        await _must_end_well("adopt", right["api"].env)
        for name in ("api", *WORKERS):
            await env.cluster.stack.supervisor.replace(right[name])
        cancelled = {event_id for event_id in ids if not await _is_open(env, event_id)}
        env.receivers.answers[WEBHOOK] = always(200)
        await until(lambda: _delivered(env) >= {*ids}, DELIVERY_TIMEOUT)
        statuses = await _final_statuses(env, ids)
    undelivered = [event_id for event_id, status in statuses.items() if status != "succeeded"]
    return Outcome(
        rows={
            "events": events,
            "not open any more with the wrong registry": len(cancelled),
            "not delivered with the right one": len(undelivered),
        },
        failures={"decided": sorted(cancelled), "not delivered": undelivered, "wrong": unmet(met)},
    )


async def _start_with(env: Environment, wrong: Mapping[str, Service], factor: float) -> dict[str, bool]:
    """Start processes and commands with another registry; return what has to hold, by what it is if it does not."""
    variables, supervisor = wrong["api"].env, env.cluster.stack.supervisor
    refused = await _command(["migrate"], variables)
    await _must_end_well("migrate --registry-only", variables)  # as a release would that compares no ids
    for name in ("api", *WORKERS):
        await supervisor.end(name)
    ended = await asyncio.wait_for(_run(wrong[WORKERS[0]].argv, wrong[WORKERS[0]].env), START_TIMEOUT)

    async def is_refusing() -> bool:
        try:
            answer = await env.http.get("/readyz")
        except httpx.TransportError:
            return False
        return answer.status_code == 503 and OTHERS in answer.text

    begin = time.monotonic()
    await supervisor.start(replace(wrong["api"], ready=is_refusing))
    refused_after = time.monotonic() - begin
    posted = await env.http.post("/v1/events", json={"type": "drill.ran", "tenant": TENANT})
    doctor = await _command(["doctor"], variables)
    async with httpx.AsyncClient(trust_env=False) as http:
        metrics = (await http.get(env.cluster.metrics)).text
    return {
        "`migrate` has not refused an empty database": refused[0] == 1 and OTHERS in refused[1],
        "the worker has not ended, or named no cause": ended[0] == 1 and OTHERS in ended[1],
        f"the API was not *not ready* within {NOT_READY_LIMIT:g} s": refused_after <= NOT_READY_LIMIT * factor,
        "the API has accepted an event": posted.status_code == 503,
        "doctor does not name it": doctor[0] == 1 and OTHERS in doctor[1],
        "the metric does not show it": "hookkeeper_wrong_registry 1.0" in metrics,
    }


async def _post(env: Environment, event_id: str) -> None:
    event = {"id": event_id, "type": "drill.ran", "tenant": TENANT, "data": {"id": event_id}}
    await env.request("POST", "/v1/events", event)


async def _is_open(env: Environment, event_id: str) -> bool:
    """Return whether the workflow itself says that the event is open."""
    shown = await env.until(f"/v1/events/{event_id}/run?tenant={TENANT}", lambda shown: True)
    return [run["status"] for run in shown["items"]] == ["RUNNING"]


def _delivered(env: Environment) -> set[str]:
    return {request.event_id for request in env.receivers.requests if request.is_delivery}


async def _final_statuses(env: Environment, ids: Sequence[str]) -> dict[str, str]:
    """Return the statuses in the list, once none is being delivered."""
    listed: dict[str, dict[str, Any]] = {}
    for _ in range(int(DELIVERY_TIMEOUT)):
        listed = await list_events(env.http, TENANT)
        if all(listed.get(event_id, {}).get("status") != "delivering" for event_id in ids):
            break
        await asyncio.sleep(1)
    return {event_id: str(listed.get(event_id, {}).get("status")) for event_id in ids}


async def _must_end_well(command: str, variables: Mapping[str, str]) -> None:
    code, written = await _command(command.split(), variables)
    if code:
        raise AssertionError(f"{command} ended with {code}: {written}")


async def _command(arguments: Sequence[str], variables: Mapping[str, str]) -> tuple[int | None, str]:
    return await _run(hookkeeper_command(*arguments), variables)


async def _run(argv: Sequence[str], variables: Mapping[str, str]) -> tuple[int | None, str]:
    """Run a command to its end; return its exit code and what it has written, in one line."""
    process = await asyncio.create_subprocess_exec(
        *argv, env={**os.environ, **variables}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    written, _ = await process.communicate()
    return process.returncode, " ".join(written.decode().split())
