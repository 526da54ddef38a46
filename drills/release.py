"""A thousand events for a paused webhook; it is resumed, and everything is killed while they are let go.

`python -m drills.release`
"""

import time

from drills import walks
from drills.answers import Answer
from drills.drill import TENANT, register
from drills.walks import Stage, count, print_counted, stage, tell
from hookkeeper.cli.console import out

EVENTS, RATE = 1000, 40.0
PLACES = 50
"""By which one may be out of its turn."""


async def drill(seed: int, events: int, rate: float) -> bool:
    """Say whether all came, once, and in their order."""
    async with stage(seed) as built:
        return await _release(built, events, rate)


async def _release(on: Stage, events: int, rate: float) -> bool:
    http = on.built.http
    webhook = await register(http, on.receivers, "paused", lambda *_: Answer(200, 0.02))
    (await http.post(f"/v1/webhooks/{webhook}/pause")).raise_for_status()
    tell(f"posting {events} events in {events / rate:.0f} s")
    await on.poster.post(events / rate, rate)
    held = f"/v1/webhooks/{webhook}/held"
    await on.until(held, lambda answer: answer["held"] == events)
    tell("all are held; resuming")
    begun = time.time()
    (await http.post(f"/v1/webhooks/{webhook}/resume")).raise_for_status()
    await on.until_seen(events // 2)
    speed = events // 2 / (time.time() - begun)
    tell(f"half of them came, {speed:.0f} a second; killing everything")
    window = await on.kill_everything()
    tell(f"everything is back after {window.ended - window.began:.1f} s")
    await on.until_seen(events)
    tell(f"the last came {time.time() - window.ended:.1f} s after that")
    await on.until(held, lambda answer: answer["held"] == 0)
    counted, farthest = count(events, on.receivers.requests, on.faults.windows), await _farthest(on)
    print_counted(counted)
    out.print(f"  none was more than {farthest} places from its turn (limit {PLACES})")
    return counted.passed and farthest <= PLACES


async def _farthest(on: Stage) -> int:
    """Say by how many places an event came out of the order of acceptance, at most."""
    accepted: dict[str, str] = {}
    cursor: str | None = None
    while True:
        query = {"tenant": TENANT, "limit": "100"} | ({"cursor": cursor} if cursor else {})
        page = (await on.built.http.get("/v1/events", params=query)).raise_for_status().json()
        accepted |= {each["id"]: each["accepted_at"] for each in page["items"]}
        if (cursor := page["next_cursor"]) is None:
            break
    turns = {event_id: n for n, event_id in enumerate(sorted(accepted, key=lambda each: accepted[each]))}
    arrived = sorted(on.receivers.requests, key=lambda request: request.arrived)
    came = dict.fromkeys(request.event_id for request in arrived)
    return max(abs(n - turns[event_id]) for n, event_id in enumerate(came))


if __name__ == "__main__":
    walks.main(drill, EVENTS, RATE, __doc__ or "")
