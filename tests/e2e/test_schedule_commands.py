"""`hookkeeper schedules`: all commands, from `create` to `delete`."""

import asyncio
import json
import os
import re
import signal
from datetime import datetime
from typing import Any

import processes

from receivers import Receiver
from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]

RESTARTED = "temporal died (signal 9), restarted"


async def ran(dev: processes.Dev, *args: str) -> str:
    done = await dev.run("schedules", *args)
    assert (done.code, done.err) == (0, ""), done
    return done.out


async def until_ran(dev: processes.Dev, *args: str) -> str:
    """Repeat a command while Temporal, which was restarted just now, does not answer in time."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while "503 Service Unavailable" in (done := await dev.run("schedules", *args)).err:
            await asyncio.sleep(0.1)
    assert (done.code, done.err) == (0, ""), done
    return done.out


async def until_made(dev: processes.Dev, tenant: str, count: int) -> dict[str, Any]:
    """Wait until this many events of the schedule were created; return the schedule."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            shown = json.loads(await ran(dev, "show", "daily", "--tenant", tenant, "--json"))
            if len([firing for firing in shown["recent"] if firing["status"] == "done"]) >= count:
                return shown  # type: ignore[no-any-return]


async def test_the_life_of_a_schedule(running_dev: processes.Dev, tenant: str) -> None:
    """Setup: `dev`. Timeline: a schedule is made, paused, triggered, backfilled, resumed, removed.
    Proves: each command does what it says.
    """
    of = ("--tenant", tenant)
    when = ("--cron", "0 9 * * 1-5", "--cron", "@monthly", "--timezone", "Europe/Berlin")
    made = await ran(
        running_dev,
        "create",
        "report.due",
        *when,
        "--id",
        "daily",
        "--event-data",
        '{"n": 1}',
        "--event-channels",
        "eu",
        *of,
    )
    assert made.startswith("daily  report.due, 0 9 * * 1-5 or @monthly Europe/Berlin\n  next  20")
    assert made.count("next") == 5
    listed = await ran(running_dev, "list", *of)
    assert f"daily     {tenant}" in listed
    later = await ran(running_dev, "update", "daily", "--catchup-window", "1d", *of, "--json")
    assert json.loads(later)["catchup_window"] == 86400
    paused = await ran(running_dev, "pause", "daily", "--note", "Holidays.", *of)
    assert paused.splitlines()[0].endswith("paused Holidays.")
    triggered = await ran(running_dev, "trigger", "daily", *of)
    assert re.fullmatch(r"daily-\d{8}T\d{6}Z\n", triggered)
    assert await ran(running_dev, "trigger", "daily", "--id", triggered.strip(), *of) == triggered
    await until_made(running_dev, tenant, 1)
    period = ("2026-01-05T00:00:00Z", "2026-01-07T00:00:00Z")
    assert (
        await ran(running_dev, "backfill", "daily", *period, *of) == "daily-20260105T080000Z\ndaily-20260106T080000Z\n"
    )
    shown = await until_made(running_dev, tenant, 3)
    assert shown["event"] == {"type": "report.due", "channels": ["eu"], "data": {"n": 1}}
    printed = await ran(running_dev, "show", "daily", *of)
    assert "2026-01-06T08:00:00.000Z  done  daily-20260106T080000Z" in printed
    assert "paused" not in await ran(running_dev, "resume", "daily", *of)
    assert await ran(running_dev, "delete", "daily", "--yes", *of) == "daily is deleted\n"
    gone = await running_dev.run("schedules", "show", "daily", *of)
    assert (gone.code, gone.out) == (1, "")
    assert "404 Not Found: No such schedule." in gone.err


async def test_each_time_has_its_event_after_a_kill(running_dev: processes.Dev, inbox: Receiver, tenant: str) -> None:
    """Setup: an event each second. Timeline: kill -9 of Temporal; then the schedule is paused.
    Proves: from the first second to the last, each has its event.
    """
    await running_dev.webhook(inbox.url, tenant)
    await ran(
        running_dev, "create", "tick", "--every", "1", "--overlap", "allow_all", "--id", "tick", "--tenant", tenant
    )
    await inbox.got(len(inbox.requests) + 2)
    restarts = running_dev.process.written().count(RESTARTED)
    os.kill((await processes.children(running_dev.process.pid))["temporal"], signal.SIGKILL)
    await running_dev.process.says(RESTARTED, times=restarts + 1)
    await running_dev.until_ready()
    await inbox.got(len(inbox.requests) + 2)
    paused = json.loads(await until_ran(running_dev, "pause", "tick", "--tenant", tenant, "--json"))
    async with asyncio.timeout(WAIT_TIMEOUT):
        while paused["recent"][0]["event_id"] not in (made := {request.webhook_id for request in inbox.requests}):
            await asyncio.sleep(0.1)
    times = sorted(datetime.strptime(event_id, "tick-%Y%m%dT%H%M%S%z") for event_id in made)
    missing = int((times[-1] - times[0]).total_seconds()) + 1 - len(times)
    while missing > 0:  # one that was in progress at a kill arrives later
        await inbox.got(len(inbox.requests) + 1)
        missing = (
            int((times[-1] - times[0]).total_seconds()) + 1 - len({request.webhook_id for request in inbox.requests})
        )


async def test_reports_invalid_schedules(running_dev: processes.Dev, tenant: str) -> None:
    create = ("schedules", "create", "report.due", "--tenant", tenant)
    wrong = await running_dev.run(*create, "--cron", "every day", "--timezone", "Mars")
    assert wrong.code == 1
    assert "cron.0: must be five fields" in wrong.err
    assert "timezone: is not a time zone" in wrong.err
    refused = await running_dev.run(*create, "--cron", "61 * * * *")
    assert refused.code == 1
    assert "cron.0: has a field that is no list of values and ranges" in refused.err
