"""The fault drill: post events all the time, do harm all the time, then hold the books against each other."""

import asyncio
import json
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from drills import answers, cluster
from drills.cluster import Cluster
from drills.config_updater import ConfigUpdater
from drills.disk import SmallDisk, small_disk
from drills.faults import Faults
from drills.load_generator import LoadGenerator
from drills.observations import Observations
from drills.postgres import Postgres
from drills.reading import Log
from drills.receiver import Answers, Receivers, receiving
from drills.schedule import TARGETS, USUAL, Kind, make_schedule
from drills.verdict import Verdict, judge

TENANT = "drill"
RETRIES: dict[str, Any] = {"schedule": [1.0] * 49}
"""Every second, as often as a schedule may have it: what fails at random does not fail that often."""
PATIENCE = 120.0
"""Seconds in which something has to happen while a run is open: twice the longest pause after a fault of ours."""

Tell = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do."""

    seed: int
    seconds: float
    rate: float
    """Events a second."""
    kinds: Collection[Kind] = USUAL
    keep: Path | None = None
    """Where data, logs and books are to stay, if anywhere."""


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict, and what could not be tried on this machine."""

    verdict: Verdict
    left_out: tuple[str, ...]


async def run(plan: Plan, tell: Tell) -> Result:
    """Carry a drill out, telling of each fault with its time in seconds."""
    with (
        small_disk("disk full" in plan.kinds) as disk,
        tempfile.TemporaryDirectory(prefix="hookkeeper-pg-") as sockets,
        tempfile.TemporaryDirectory(prefix="hookkeeper-drill-") as folder,
    ):
        registry = Postgres((disk.folder if disk else Path(sockets)) / "data", Path(sockets))
        await asyncio.to_thread(registry.make)
        own_clocks = "clock" in plan.kinds
        async with (
            cluster.running(plan.keep or Path(folder), registry, own_clocks=own_clocks) as built,
            receiving() as receivers,
        ):
            books = await _drill(plan, built, receivers, disk, tell)
            if plan.keep:
                (plan.keep / "books.json").write_text(json.dumps(asdict(books)))
    left_out = []
    if disk is None and "disk full" in plan.kinds:
        left_out.append("disk full: no right to mount a small one")
    if built.clocks is None and own_clocks:
        left_out.append("clocks: libfaketime is not here, or does not work here")
    return Result(judge(books), tuple(left_out))


async def _drill(plan: Plan, built: Cluster, receivers: Receivers, disk: SmallDisk | None, tell: Tell) -> Observations:
    webhooks = {
        await register(built.http, receivers, "steady", partial(answers.steady, plan.seed)): "steady",
        await register(built.http, receivers, "flaky", partial(answers.flaky, plan.seed)): "flaky",
    }
    poster = LoadGenerator(built.http, TENANT, plan.seed)
    clerk = ConfigUpdater(
        built.http, (await _webhook(built.http, events=["nothing.ever"], url=receivers.url))["id"], plan.seed
    )
    faults = Faults(built, disk, tell)
    await _busy(plan, poster, clerk, faults)
    for name in TARGETS:
        await built.until_again(name)
    log = Log(built.http, TENANT, webhooks)
    await log.until_over(PATIENCE, receivers.latest)
    await log.read([each.event_id for each in poster.accepted])
    return Observations(
        webhooks=tuple(webhooks.values()),
        accepted=tuple(poster.accepted),
        requests=tuple(receivers.requests),
        logged=tuple(log.attempts),
        statuses=log.statuses,
        windows=tuple(faults.windows),
        unaccepted=tuple(poster.unaccepted),
        refused=(*poster.refused, *clerk.refused),
        changes=clerk.made,
        changes_lost=await clerk.lost(),
    )


async def _busy(plan: Plan, poster: LoadGenerator, clerk: ConfigUpdater, faults: Faults) -> None:
    """Post, change and harm at once, until all is posted and all is cured."""
    cannot = {"disk full": faults.disk is None, "clock": faults.house.clocks is None}
    kinds = [kind for kind in plan.kinds if not cannot.get(kind)]
    working = asyncio.create_task(clerk.work())
    try:
        await asyncio.gather(
            poster.post(plan.seconds, plan.rate),
            faults.carry_out(make_schedule(plan.seed, plan.seconds, kinds)),
        )
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def register(
    http: httpx.AsyncClient, receivers: Receivers, name: str, how: Answers, retry: dict[str, Any] = RETRIES
) -> str:
    """Register a webhook that is received as said; give its id."""
    made = await _webhook(http, events=["drill.*"], url=f"{receivers.url}/{name}", name=name, retry=retry)
    receivers.answers[name], receivers.secrets[name] = how, made["secret"]
    webhook_id: str = made["id"]
    return webhook_id


async def _webhook(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await http.post("/v1/webhooks", json={"tenant": TENANT, "timeout": answers.TIMEOUT, **fields})
    answer.raise_for_status()
    made: dict[str, Any] = answer.json()
    return made
