"""Two thousand events have failed; they are recovered, and everything is killed when half of them are redelivered.

They fail again, so that what was redelivered looks like what was not. `python -m drills.recovery`
"""

import time
from datetime import UTC, datetime, timedelta

from drills import walks
from drills.answers import Answer
from drills.drill import TENANT, register
from drills.reading import Log
from drills.walks import Stage, count, print_counted, stage, tell
from hookkeeper.cli.console import out

EVENTS, RATE = 2000, 40.0
RECOVERED_A_SECOND = 30.0


async def drill(seed: int, events: int, rate: float) -> bool:
    """Say whether all were redelivered, once."""
    async with stage(seed) as built:
        return await _recover(built, events, rate)


async def _recover(on: Stage, events: int, rate: float) -> bool:
    http = on.built.http
    webhook = await register(http, on.receivers, "fails", lambda *_: Answer(503, 0.02), retry={"schedule": []})
    tell(f"posting {events} events in {events / rate:.0f} s; all fail")
    await on.poster.post(events / rate, rate)
    await on.until_seen(events)
    log = Log(http, TENANT, {webhook: "fails"})
    await log.until_over(walks.PATIENCE)
    on.receivers.requests.clear()
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    wanted = {"since": since, "rate": RECOVERED_A_SECOND}
    dry = (await http.post(f"/v1/webhooks/{webhook}/recover", json=wanted | {"dry_run": True})).raise_for_status()
    tell(f"{dry.json()['found']} are found; recovering {RECOVERED_A_SECOND:g} a second")
    job = (await http.post(f"/v1/webhooks/{webhook}/recover", json=wanted)).raise_for_status().json()
    await on.until_seen(events // 2)
    tell("half of them are redelivered; killing everything")
    window = await on.kill_everything()
    tell(f"everything is back after {window.ended - window.began:.1f} s")
    over = await on.until(f"/v1/recoveries/{job['id']}", lambda answer: answer["status"] == "finished")
    await on.until_seen(events)
    tell(f"the recovery was over {time.time() - window.ended:.1f} s after that")
    await log.until_over(walks.PATIENCE)
    await log.read([each.event_id for each in on.poster.accepted])
    counted = count(events, on.receivers.requests, on.faults.windows)
    print_counted(counted)
    out.print(
        f"  the recovery says: found {over['found']}, redelivered {over['redelivered']},"
        f" failed {over['failed']}, skipped {over['skipped']}"
    )
    out.print(f"  the log shows {len(log.attempts)} attempts of {len(log.statuses)} events (wanted: {2 * events})")
    told = (over["found"], over["redelivered"]) == (events, events)
    return counted.passed and told and len(log.attempts) == 2 * events


if __name__ == "__main__":
    walks.main(drill, EVENTS, RATE, __doc__ or "")
