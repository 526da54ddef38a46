"""The fault drill: post events and inject faults at the same time, then compare what was observed."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from random import Random
from string import ascii_letters
from typing import Any

import httpx

from drills import answers
from drills.disk import small_disk
from drills.drill import Numbers, Options, Outcome, print_fault, print_step
from drills.environment import Environment, environment, meanwhile
from drills.observations import Observations
from drills.schedule import Kind, make_schedule, make_tour
from drills.verdict import Verdict, judge

SECONDS, RATE = 600.0, 20.0
INTERVAL = 0.25
"""Seconds between two changes of a webhook."""
FILLER = 12_000
"""Characters of each change, so that a full disk has no space for it."""


async def run(options: Options) -> Outcome:
    """Post events and inject faults, each of which is printed; then compare."""
    shape, kinds, own_clocks = options.shape, options.kinds, "clock" in options.kinds
    tour = make_tour(shape) if options.tour else ()
    seconds, rate = options.seconds or (tour[-1].at if tour else SECONDS), options.rate or RATE
    print_step(f"seed {options.seed}, {seconds:g} s, {rate:g} events/s, two webhooks, {', '.join(shape.targets)}")
    left_out: dict[Kind, str] = {}
    with small_disk("disk full" in kinds) as disk:
        running = environment(
            options.seed, shape, folder=options.keep, disk=disk, own_clocks=own_clocks, on_fault=print_fault
        )
        async with running as env:
            if disk is None and "disk full" in kinds:
                left_out["disk full"] = "this process may not mount a small disk"
            if own_clocks and env.cluster.clocks is None:
                left_out["clock"] = "libfaketime is missing or does not work on this machine"
            schedule = tour or make_schedule(options.seed, seconds, kinds, shape)
            faults = [fault for fault in schedule if fault.kind in kinds and fault.kind not in left_out]
            observed = await _observe(env, options.seed, env.load.post(seconds, rate), env.faults.inject(faults))
    if options.keep:
        (options.keep / "observations.json").write_text(json.dumps(asdict(observed)))
    return _outcome(judge(observed), left_out)


async def _observe(env: Environment, seed: int, *work: Coroutine[Any, Any, None]) -> Observations:
    """Change a webhook during the work, and return what was recorded."""
    webhooks = {
        await env.register("steady", partial(answers.steady, seed)): "steady",
        await env.register("flaky", partial(answers.flaky, seed)): "flaky",
    }
    changed = await env.register("changed", partial(answers.steady, seed), events=["nothing.ever"])
    updater = ConfigUpdater(env.http, changed, seed)
    async with meanwhile(updater.run()):
        await asyncio.gather(*work)
    for name in env.cluster.shape.targets:
        await env.cluster.until_ready(name)
    observed = await env.observe(webhooks)
    refused = (*observed.refused, *updater.refused)
    return replace(observed, refused=refused, changes=updater.made, changes_lost=await updater.lost())


def _outcome(verdict: Verdict, left_out: Mapping[Kind, str]) -> Outcome:
    counts, faults = verdict.counts, verdict.faults.total()
    figure = f"{faults} faults, {counts['in flight at faults']} in flight at them; latest {verdict.longest:.0f} s"
    not_injected = [f"not injected: {kind}: {why}" for kind, why in left_out.items()]
    return Outcome(
        {**counts, "longest from acceptance to delivery": f"{verdict.longest:.1f} s", "faults": faults},
        verdict.failures,
        notes=[", ".join(f"{name} {count}" for name, count in sorted(verdict.faults.items())), *not_injected],
        numbers=Numbers(
            *(counts["events accepted"], counts["lost"], counts["stuck"], counts["duplicates"]),
            "; ".join([figure, *not_injected]),
        ),
    )


@dataclass
class ConfigUpdater:
    """Changes a webhook repeatedly. A change that the API has confirmed must last, also when the disk is full.

    Numbers its changes. A change without a response may have been made; one with status 200 has been.
    """

    http: httpx.AsyncClient
    webhook_id: str
    seed: int
    made: int = 0
    last: int = 0
    tried: int = 0
    refused: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Change until cancelled."""
        while True:
            await self._change()
            await asyncio.sleep(INTERVAL)

    async def lost(self) -> tuple[str, ...]:
        """Describe a confirmed change that is missing."""
        answer = await self.http.get(f"/v1/webhooks/{self.webhook_id}")
        answer.raise_for_status()
        found = int(answer.json()["description"] or 0)
        wrong = not self.last <= found <= self.tried
        return (f"change {found} was found, {self.last} was the last one confirmed",) if wrong else ()

    async def _change(self) -> None:
        self.tried += 1
        try:
            answer = await self.http.patch(f"/v1/webhooks/{self.webhook_id}", json=self._fields())
        except httpx.TransportError:
            return
        if answer.is_success:
            self.made, self.last = self.made + 1, self.tried
        elif answer.status_code != 503:
            self.refused.append(f"change {self.tried}: {answer.status_code} {answer.text}")

    def _fields(self) -> dict[str, Any]:
        random = Random(f"{self.seed} change {self.tried}")
        filler = "".join(random.choices(ascii_letters, k=FILLER))
        return {"description": str(self.tried), "payload": {"static": {"filler": filler}}}
