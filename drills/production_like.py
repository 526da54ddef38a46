"""`make production-like`: run the drills, the end-to-end tests and a benchmark on a stack as in production.

Each step has a stack of its own. The exit code is 0 if no step failed.
"""

import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from drills import bulk, cluster, fault_drill, neighbour, ordered, report, slow, temporal_cluster, upgrade
from drills.bulk import Summary
from drills.fault_drill import DrillPlan
from drills.postgres import NotInstalled
from drills.schedule import KINDS, USUAL, make_tour
from drills.shape import EXTRAS, Shape
from hookkeeper.cli.console import Failed
from hookkeeper.cli.datadir import DataDir
from hookkeeper.cli.ports import Ports

RATE = 5.0
"""Events a second of the fault drills."""
EXTRA_SECONDS = 20.0
"""Duration of the fault drill with each extra."""
BULK_EVENTS, ORDERED_EVENTS = 300, 60
NEIGHBOUR_SECONDS, NEIGHBOUR_FACTOR = 20.0, 3.0
"""The limits are for a machine that has nothing else to do than the embedded server."""
TURNS, BENCHMARK_SCALE = 3, 0.5
AIM = 0.6
"""The throughput in relation to that with the embedded server. It depends on the cores, so it decides nothing."""
STEP_TIMEOUT = 900.0
UPGRADE = "upgrade"
INSTALLATION = "E2E_INSTALLATION"
"""Tells the end-to-end tests of a running installation: its folder has the data directory of `dev`."""
E2E_OPTIONS = "tests/e2e -v -n 2 --dist loadfile --no-header"
ONLY_WITH_DEV = ("test_dev.py", "test_docs_commands.py")
"""Files of tests that expect the settings and folders of a `dev`."""


@dataclass(frozen=True, slots=True)
class Row:
    """The result of a step. Numbers are of events."""

    passed: bool | None
    """None: the step cannot run on this machine."""
    posted: int | None = None
    lost: int | None = None
    stuck: int | None = None
    doubled: int | None = None
    figure: str = ""
    step: str = ""
    seconds: float = 0.0


Step = Callable[[int, Shape], Awaitable[Row]]


async def _faults(seed: int, shape: Shape) -> Row:
    """Kill each process once, then let the database fail in each way, and kill everything."""
    tour = make_tour(shape)
    return await _judged(DrillPlan(seed, tour[-1].at, RATE, USUAL, shape, tour))


async def _kills(seed: int, shape: Shape) -> Row:
    """Kill a process at random every five seconds."""
    return await _judged(DrillPlan(seed, EXTRA_SECONDS, RATE, KINDS[:1], shape))


async def _judged(plan: DrillPlan) -> Row:
    result = await fault_drill.run(plan, report.print_fault)
    verdict = result.verdict
    passed = report.print_result(plan, result)
    figure = f"{verdict.faults.total()} faults, {verdict.in_flight} in flight at them; latest {verdict.longest:.0f} s"
    figure += "".join(f"; not injected: {text}" for text in result.left_out)
    return Row(passed, verdict.accepted, len(verdict.lost), len(verdict.stuck), verdict.duplicates, figure)


async def _release(seed: int, shape: Shape) -> Row:
    result = await bulk.release(seed, BULK_EVENTS, bulk.RATE, report.print_step, shape)
    figure = f"{result.displacement} positions out of order at most"
    return _summary(report.print_release(result), result.summary, figure)


async def _recovery(seed: int, shape: Shape) -> Row:
    result = await bulk.recovery(seed, BULK_EVENTS, bulk.RATE, report.print_step, shape)
    return _summary(report.print_recovery(result), result.summary, f"{result.counts['redelivered']} redelivered")


def _summary(passed: bool, summary: Summary, figure: str) -> Row:
    lost = summary.wanted - summary.received
    return Row(passed, summary.wanted, lost, None, summary.repeated, f"{figure}; {summary.in_flight} in flight")


async def _ordered(seed: int, shape: Shape) -> Row:
    result = await ordered.run(seed, ORDERED_EVENTS, report.print_step, shape)
    passed, lost = report.print_ordered(result), len(set(result.accepted) - set(result.received))
    figure = f"in order: {'yes' if result.received == result.accepted else 'no'}; {result.kills} workers killed"
    return Row(passed, len(result.accepted), lost, result.open, result.repeated, figure)


async def _neighbour(seed: int, shape: Shape) -> Row:
    found = await neighbour.run(seed, NEIGHBOUR_SECONDS, NEIGHBOUR_FACTOR, 0, report.print_step, shape=shape)
    passed, late = report.print_neighbour(found), found.beside.lateness
    lost, doubled = sum(seconds == float("inf") for seconds in late), sum(max(0, n - 1) for n in found.attempts)
    figure = f"beside a hostile tenant: half within {neighbour.quantile(late, 0.5):.2f} s"
    return Row(passed, len(late), lost, None, doubled, f"{figure}, 95 % within {neighbour.quantile(late, 0.95):.2f} s")


async def _slow(seed: int, shape: Shape) -> Row:
    result = await slow.run(seed, slow.EVENTS, report.print_step, shape)
    old, new = result.slowest(is_new=False), result.slowest(is_new=True)
    figure = f"accepted while slow: {result.interrupted} interrupted within {old:.0f} s, new ones within {new:.0f} s"
    passed = report.print_slowed(result)
    return Row(passed, result.posted, len(result.lost), len(result.stuck), result.repeated, figure)


async def _e2e(seed: int, shape: Shape) -> Row:
    """Run the end-to-end tests of client commands against the installation."""
    variables = {"HOOKKEEPER_MIN_SCHEDULE_INTERVAL": "1"}
    with tempfile.TemporaryDirectory(prefix="hookkeeper-e2e-") as name:
        folder = Path(name) / ".hookkeeper"
        async with cluster.running(shape, folder=folder, variables=variables) as running:
            api = Ports(api=running.http.base_url.port or 0)
            DataDir(folder).store_api(running.stack.url, running.stack.admin_key, api)
            tests = ["-m", "pytest", *E2E_OPTIONS.split(), *(f"--ignore=tests/e2e/{name}" for name in ONLY_WITH_DEV)]
            code, written = await _run(tests, {INSTALLATION: name})
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", written)
    return Row(code == 0, figure=", ".join(counts))


async def _throughput(seed: int, shape: Shape) -> Row:
    """Compare the throughput with that of the embedded server, in turns."""
    with tempfile.TemporaryDirectory(prefix="hookkeeper-bench-") as folder:
        options = ["--turns", str(TURNS), "--scale", str(BENCHMARK_SCALE), "--results", folder]
        chosen = ["--contenders", "hookkeeper", "production"]
        code, _ = await _run(["-m", "benchmarks", "throughput", *chosen, *options], {})
        compared = await asyncio.to_thread(_compared, Path(folder))
    return Row(code == 0 and compared.ratio > 0, figure=str(compared))


@dataclass(frozen=True, slots=True)
class Compared:
    """Medians of all turns; rates are events a second, and CPU time is in milliseconds an event."""

    ratio: float
    """Of the rates in one turn."""
    rate: float
    embedded_rate: float
    cpu: float
    embedded_cpu: float

    def __str__(self) -> str:
        rates = f"{self.rate:.0f} events/s, embedded {self.embedded_rate:.0f}: {self.ratio:.2f} (aim {AIM:g})"
        return f"{rates}; CPU {self.cpu:.1f} ms an event, embedded {self.embedded_cpu:.1f}"


def _compared(folder: Path) -> Compared:
    (found,) = folder.glob("*.json")
    return compare(json.loads(found.read_text())["samples"])


def compare(samples: Sequence[Mapping[str, Any]]) -> Compared:
    """Compare the samples of both contenders; a measurement that failed counts as 0."""

    def values(contender: str, metric: str) -> list[float]:
        return [each["metrics"].get(metric, 0.0) for each in samples if each["contender"] == contender] or [0.0]

    rates, embedded = (values(name, "events_per_s") for name in ("production", "hookkeeper"))
    ratio = statistics.median(rate / other if other else 0.0 for rate, other in zip(rates, embedded, strict=False))
    cpu, embedded_cpu = (statistics.median(values(name, "cpu_ms")) for name in ("production", "hookkeeper"))
    return Compared(ratio, statistics.median(rates), statistics.median(embedded), cpu, embedded_cpu)


async def _run(arguments: Sequence[str], variables: dict[str, str]) -> tuple[int, str]:
    """Run a module of this Python in the project, show what it writes, and return its exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        cwd=temporal_cluster.ROOT,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout
    written = ""
    try:
        async for line in process.stdout:
            written += line.decode()
            report.print_step(line.decode().rstrip())
        return await process.wait(), written
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _upgrade(seed: int, shape: Shape, earlier: str = "") -> Row:
    """Upgrade from an earlier release to HEAD, go back, and upgrade again, under load and with everything pending."""
    earlier = earlier or upgrade.latest_tag()
    result = await upgrade.run(seed, earlier, upgrade.SECONDS, upgrade.RATE, report.print_step, shape)
    passed, found = report.print_upgrade(result), result.verdicts.values()
    lost, stuck = sum(len(each.lost) for each in found), sum(len(each.stuck) for each in found)
    figure = f"from {earlier}; latest {max(each.longest for each in found):.0f} s"
    posted, doubled = sum(each.accepted for each in found), sum(each.duplicates for each in found)
    return Row(passed, posted, lost, stuck, doubled, figure)


STEPS: dict[str, tuple[Step, Shape]] = {
    "e2e": (_e2e, Shape("production")),
    "faults": (_faults, Shape("production")),
    "release": (_release, Shape("production")),
    "recovery": (_recovery, Shape("production")),
    "ordered": (_ordered, Shape("production")),
    "neighbour": (_neighbour, Shape("production")),
    "slow": (_slow, Shape("production")),
    UPGRADE: (_upgrade, Shape("production")),
    **{extra: (_kills, Shape("production", frozenset({extra}))) for extra in EXTRAS},
    "throughput": (_throughput, Shape("production")),
    "faults, roles": (_faults, Shape("roles")),
    "release, roles": (_release, Shape("roles")),
    "ordered, roles": (_ordered, Shape("roles")),
    "slow, roles": (_slow, Shape("roles")),
}


def print_steps(rows: Sequence[Row]) -> bool:
    """Print the table of all steps, and return whether all passed."""
    table = Table(box=None, padding=(0, 1))
    for title in ("step", "verdict"):
        table.add_column(title)
    for title in ("seconds", "posted", "lost", "stuck", "doubled"):
        table.add_column(title, justify="right")
    table.add_column("figures")
    for row in rows:
        numbers = ("" if number is None else str(number) for number in (row.posted, row.lost, row.stuck, row.doubled))
        verdict = {True: "pass", False: "FAIL", None: "not run"}[row.passed]
        table.add_row(row.step, verdict, f"{row.seconds:.0f}", *numbers, row.figure)
    report.print_wide(table)
    return any(row.passed for row in rows) and not any(row.passed is False for row in rows)


async def run(seed: int, only: Sequence[str], earlier: str) -> list[Row]:
    """Build the server if necessary, run the steps one after the other, and return their results. `earlier` names the
    release from which to upgrade; empty: the latest one with a tag.
    """
    await temporal_cluster.build()
    rows = []
    for name in only or STEPS:
        step, shape = STEPS[name]
        if name == UPGRADE:
            step = partial(_upgrade, earlier=earlier)
        report.print_step(f"\n{name}: {STEPS[name][0].__doc__ or ''}")
        began = time.monotonic()
        try:
            async with asyncio.timeout(STEP_TIMEOUT):
                row = await step(seed, shape)
        except NotInstalled as missing:
            row = Row(None, figure=str(missing))
        except Exception as error:  # noqa: BLE001 - the other steps run all the same
            row = Row(False, figure=str(error).splitlines()[0] if isinstance(error, Failed) else repr(error))
        rows.append(replace(row, step=name, seconds=time.monotonic() - began))
    return rows
