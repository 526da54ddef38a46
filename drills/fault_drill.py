"""The fault drill: post events and inject faults at the same time, then compare what was observed."""

import asyncio
import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from drills import answers
from drills.config_updater import ConfigUpdater
from drills.disk import small_disk
from drills.environment import TENANT, Environment, environment
from drills.event_log import EventLog
from drills.observations import Observations
from drills.schedule import USUAL, Fault, Kind, make_schedule
from drills.shape import EMBEDDED, Shape
from drills.verdict import Verdict, judge

STUCK_TIMEOUT = 120.0
"""Seconds in which something has to happen while a run is open: twice the longest pause that Hookkeeper makes."""


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """What to do."""

    seed: int
    seconds: float
    rate: float
    """Events a second."""
    kinds: Collection[Kind] = USUAL
    shape: Shape = EMBEDDED
    schedule: tuple[Fault, ...] | None = None
    """In place of one that the seed makes of `kinds`."""
    keep: Path | None = None
    """The folder in which data, logs and observations are kept, if any."""


@dataclass(frozen=True, slots=True)
class DrillResult:
    """The verdict, and the faults that cannot be injected on this machine."""

    verdict: Verdict
    left_out: tuple[str, ...]


async def run(plan: DrillPlan, on_fault: Callable[[float, str], None]) -> DrillResult:
    """Run the drill, and report each fault with its time in seconds."""
    own_clocks = "clock" in plan.kinds
    with small_disk("disk full" in plan.kinds) as disk:
        running = environment(
            plan.seed, plan.shape, folder=plan.keep, disk=disk, own_clocks=own_clocks, on_fault=on_fault
        )
        async with running as env:
            observations = await _observe(plan, env)
            if plan.keep:
                (plan.keep / "observations.json").write_text(json.dumps(asdict(observations)))
    left_out = []
    if disk is None and "disk full" in plan.kinds:
        left_out.append("disk full: this process may not mount a small disk")
    if own_clocks and env.cluster.clocks is None:
        left_out.append("clocks: libfaketime is missing or does not work on this machine")
    return DrillResult(judge(observations), tuple(left_out))


async def _observe(plan: DrillPlan, env: Environment) -> Observations:
    webhooks = {
        await env.register("steady", partial(answers.steady, plan.seed)): "steady",
        await env.register("flaky", partial(answers.flaky, plan.seed)): "flaky",
    }
    changed = await env.create_webhook(events=["nothing.ever"], url=env.receivers.url)
    updater = ConfigUpdater(env.http, changed["id"], plan.seed)
    await _post_and_inject(plan, env, updater)
    for name in plan.shape.targets:
        await env.cluster.until_ready(name)
    log = EventLog(env.http, TENANT, webhooks)
    await log.until_final(STUCK_TIMEOUT, env.receivers.latest)
    await log.read([accepted.event_id for accepted in env.load.accepted])
    return Observations(
        webhooks=tuple(webhooks.values()),
        accepted=tuple(env.load.accepted),
        requests=tuple(env.receivers.requests),
        logged=tuple(log.attempts),
        statuses=log.statuses,
        windows=tuple(env.faults.windows),
        unaccepted=tuple(env.load.unaccepted),
        refused=(*env.load.refused, *updater.refused),
        changes=updater.made,
        changes_lost=await updater.lost(),
    )


def _schedule(plan: DrillPlan, kinds: Collection[Kind]) -> tuple[Fault, ...]:
    if plan.schedule is None:
        return make_schedule(plan.seed, plan.seconds, kinds, plan.shape)
    return tuple(fault for fault in plan.schedule if fault.kind in kinds)


async def _post_and_inject(plan: DrillPlan, env: Environment, updater: ConfigUpdater) -> None:
    """Post events, change a webhook and inject faults, until all events are posted and all faults are over."""
    impossible = {"disk full": env.faults.disk is None, "clock": env.cluster.clocks is None}
    kinds = [kind for kind in plan.kinds if not impossible.get(kind)]
    updating = asyncio.create_task(updater.run())
    try:
        await asyncio.gather(
            env.load.post(plan.seconds, plan.rate),
            env.faults.inject(_schedule(plan, kinds)),
        )
    finally:
        updating.cancel()
        with suppress(asyncio.CancelledError):
            await updating
