"""Two drills of bulk operations: a release and a recovery, each of which all processes are killed midway."""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from drills.answers import PlannedAnswer
from drills.environment import TENANT, TIMEOUT, Environment, Report, environment
from drills.event_log import EventLog, list_events
from drills.excuses import was_in_flight
from drills.observations import ReceivedRequest, Window
from drills.shape import EMBEDDED, Shape

RELEASED_EVENTS, RECOVERED_EVENTS, RATE = 1000, 2000, 40.0
RECOVERY_RATE = 30.0
"""Events that a recovery redelivers a second."""
DISPLACEMENT_LIMIT = 50
"""Positions by which a released event may deviate from the order of acceptance."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a receiver got of the events that it should get once."""

    wanted: int
    received: int
    """Events that arrived."""
    repeated: int
    """Requests for an event that had arrived before."""
    unexplained: int
    """Repeated requests that were not in flight when everything was killed, nor was an earlier one of the event."""
    in_flight: int
    """Requests that were in flight then."""

    @property
    def passed(self) -> bool:
        return self.received == self.wanted and not self.unexplained and self.repeated <= self.in_flight


@dataclass(frozen=True, slots=True)
class Release:
    """The result of the release drill."""

    summary: Summary
    displacement: int
    """Maximum number of positions by which an event came out of order."""

    @property
    def passed(self) -> bool:
        return self.summary.passed and self.displacement <= DISPLACEMENT_LIMIT


@dataclass(frozen=True, slots=True)
class Recovery:
    """The result of the recovery drill. `counts` is what the API says."""

    summary: Summary
    counts: dict[str, int]
    logged_events: int
    logged_attempts: int

    @property
    def passed(self) -> bool:
        wanted = self.summary.wanted
        return (
            self.summary.passed
            and (self.counts["found"], self.counts["redelivered"]) == (wanted, wanted)
            and self.logged_attempts == 2 * wanted
        )


def summarize(wanted: int, requests: list[ReceivedRequest], windows: list[Window]) -> Summary:
    """Compare what arrived with what should have arrived."""
    by_event: dict[str, list[ReceivedRequest]] = {}
    for request in sorted(requests, key=lambda request: request.arrived):
        by_event.setdefault(request.event_id, []).append(request)
    repeated = Counter({event_id: len(received) - 1 for event_id, received in by_event.items()})
    unexplained = sum(
        not any(was_in_flight(request, windows) for request in received[: n + 1])
        for received in by_event.values()
        for n in range(1, len(received))
    )
    in_flight = sum(was_in_flight(request, windows) for request in requests)
    return Summary(wanted, len(by_event), repeated.total(), unexplained, in_flight)


async def release(seed: int, events: int, rate: float, report: Report, shape: Shape = EMBEDDED) -> Release:
    """Hold events of a paused webhook, resume it, and kill everything while they are released."""
    async with environment(seed, shape) as env:
        webhook = await env.register("paused", lambda *_: PlannedAnswer(200, 0.02))
        (await env.http.post(f"/v1/webhooks/{webhook}/pause")).raise_for_status()
        report(f"posting {events} events in {events / rate:.0f} s")
        await _post(env, events, rate)
        held = f"/v1/webhooks/{webhook}/held"
        await env.until(held, lambda answer: answer["held"] == events)
        report("all are held; resuming")
        began = time.time()
        (await env.http.post(f"/v1/webhooks/{webhook}/resume")).raise_for_status()
        await env.until_received(events // 2)
        report(f"half of them arrived, {events // 2 / (time.time() - began):.0f} a second; killing everything")
        await _kill_and_finish(env, events, report)
        await env.until(held, lambda answer: answer["held"] == 0)
        return Release(_summary(env, events), await _displacement(env))


async def recovery(seed: int, events: int, rate: float, report: Report, shape: Shape = EMBEDDED) -> Recovery:
    """Recover failed events, and kill everything midway. They fail again, so both attempts look the same."""
    async with environment(seed, shape) as env:
        webhook = await env.register("fails", lambda *_: PlannedAnswer(503, 0.02), retry={"schedule": []})
        report(f"posting {events} events in {events / rate:.0f} s; all fail")
        await _post(env, events, rate)
        await env.until_received(events)
        log = EventLog(env.http, TENANT, {webhook: "fails"})
        await log.until_final(TIMEOUT)
        env.receivers.requests.clear()
        started = await _start_recovery(env, webhook, report)
        await env.until_received(events // 2)
        report("half of them are redelivered; killing everything")
        await _kill_and_finish(env, events, report)
        finished = await env.until(f"/v1/recoveries/{started}", lambda answer: answer["status"] == "finished")
        await log.until_final(TIMEOUT)
        await log.read([accepted.event_id for accepted in env.load.accepted])
        counts = {name: finished[name] for name in ("found", "redelivered", "failed", "skipped")}
        return Recovery(_summary(env, events), counts, len(log.statuses), len(log.attempts))


async def _post(env: Environment, events: int, rate: float) -> None:
    """Post the events. Raises RuntimeError if not all are accepted: the drill would wait for them in vain."""
    await env.load.post(events / rate, rate)
    if missing := [*env.load.unaccepted, *env.load.refused]:
        raise RuntimeError(f"{len(missing)} of {events} events were not accepted: {', '.join(missing[:10])}")


async def _start_recovery(env: Environment, webhook: str, report: Report) -> str:
    path, since = f"/v1/webhooks/{webhook}/recover", (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    request = {"since": since, "rate": RECOVERY_RATE}
    preview = (await env.http.post(path, json=request | {"dry_run": True})).raise_for_status().json()
    report(f"{preview['found']} are found; recovering {RECOVERY_RATE:g} a second")
    return str((await env.http.post(path, json=request)).raise_for_status().json()["id"])


async def _kill_and_finish(env: Environment, events: int, report: Report) -> None:
    window = await env.kill_everything()
    report(f"everything is back after {window.ended - window.began:.1f} s")
    await env.until_received(events)
    report(f"the last one arrived {time.time() - window.ended:.1f} s after that")


def _summary(env: Environment, events: int) -> Summary:
    return summarize(events, env.receivers.requests, env.faults.windows)


async def _displacement(env: Environment) -> int:
    """Return by how many positions an event arrived out of the order of acceptance, at most."""
    listed = await list_events(env.http, TENANT)
    accepted = sorted(listed, key=lambda event_id: listed[event_id]["accepted_at"])
    positions = {event_id: n for n, event_id in enumerate(accepted)}
    requests = sorted(env.receivers.requests, key=lambda request: request.arrived)
    arrived = dict.fromkeys(request.event_id for request in requests)
    return max(abs(n - positions[event_id]) for n, event_id in enumerate(arrived))
