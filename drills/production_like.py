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
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from cli.console import Failed
from cli.datadir import DataDir
from cli.ports import Ports
from drills import bulk, cluster, fault_drill, neighbours, ordered, slow, temporal_cluster, upgrade
from drills.drill import Numbers, Options, Outcome, print_outcome, print_step, unmet
from drills.postgres import NotInstalled
from drills.schedule import KINDS
from drills.shape import EXTRAS

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
INSTALLATION = "E2E_INSTALLATION"
"""Tells the end-to-end tests of a running installation: its folder has the data directory of `dev`."""
E2E_OPTIONS = "tests/e2e -v -n 2 --dist loadfile --no-header"
ONLY_WITH_DEV = ("test_dev.py", "test_docs_commands.py")
"""Files of tests that expect the settings and folders of a `dev`."""


@dataclass(frozen=True, slots=True)
class Row:
    """The result of a step."""

    step: str
    passed: bool | None
    """None: the step cannot run on this machine."""
    numbers: Numbers
    seconds: float


Step = Callable[[Options], Awaitable[Outcome]]


async def _e2e(options: Options) -> Outcome:
    """Run the end-to-end tests of client commands against the installation."""
    variables = {"HOOKKEEPER_MIN_SCHEDULE_INTERVAL": "1"}
    with tempfile.TemporaryDirectory(prefix="hookkeeper-e2e-") as name:
        folder = Path(name) / ".hookkeeper"
        async with cluster.running(options.shape, folder=folder, variables=variables) as running:
            api = Ports(api=running.http.base_url.port or 0)
            DataDir(folder).store_api(running.stack.url, running.stack.admin_key, api)
            tests = ["-m", "pytest", *E2E_OPTIONS.split(), *(f"--ignore=tests/e2e/{name}" for name in ONLY_WITH_DEV)]
            code, written = await _run(tests, {INSTALLATION: name})
    counts = ", ".join(re.findall(r"\d+ (?:passed|failed|skipped|errors?)", written))
    return Outcome({"tests": counts}, {"tests": unmet({counts: code == 0})}, numbers=Numbers(figure=counts))


async def _throughput(options: Options) -> Outcome:
    """Compare the throughput with that of the embedded server, in turns."""
    with tempfile.TemporaryDirectory(prefix="hookkeeper-bench-") as folder:
        scale = ["--turns", str(TURNS), "--scale", str(BENCHMARK_SCALE), "--results", folder]
        chosen = ["--contenders", "hookkeeper", "production"]
        code, _ = await _run(["-m", "benchmarks", "throughput", *chosen, *scale], {})
        ratio, figure = compare(await asyncio.to_thread(_samples, Path(folder)))
    wrong = unmet({"a measurement failed": code == 0 and ratio > 0})
    return Outcome({"throughput": figure}, {"throughput": wrong}, numbers=Numbers(figure=figure))


def _samples(folder: Path) -> list[dict[str, Any]]:
    (found,) = folder.glob("*.json")
    return list(json.loads(found.read_text())["samples"])


def compare(samples: Sequence[Mapping[str, Any]]) -> tuple[float, str]:
    """Compare the samples of both contenders: return the median ratio of rates in one turn, and a description.

    A measurement that failed counts as 0. CPU time is in milliseconds an event.
    """

    def values(contender: str, metric: str) -> list[float]:
        return [each["metrics"].get(metric, 0.0) for each in samples if each["contender"] == contender] or [0.0]

    rates, embedded = (values(name, "events_per_s") for name in ("production", "hookkeeper"))
    ratio = statistics.median(rate / other if other else 0.0 for rate, other in zip(rates, embedded, strict=False))
    cpu, embedded_cpu = (statistics.median(values(name, "cpu_ms")) for name in ("production", "hookkeeper"))
    shown = f"{statistics.median(rates):.0f} events/s, embedded {statistics.median(embedded):.0f}: {ratio:.2f}"
    return ratio, f"{shown} (aim {AIM:g}); CPU {cpu:.1f} ms an event, embedded {embedded_cpu:.1f}"


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
            print_step(line.decode().rstrip())
        return await process.wait(), written
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


PRODUCTION, ROLES = Options(on="production"), Options(on="roles")
FEW = replace(PRODUCTION, events=BULK_EVENTS)
STEPS: dict[str, tuple[Step, Options]] = {
    "e2e": (_e2e, PRODUCTION),
    "faults": (fault_drill.run, replace(PRODUCTION, tour=True, rate=RATE)),
    "release": (bulk.release, FEW),
    "recovery": (bulk.recovery, FEW),
    "ordered": (ordered.run, replace(PRODUCTION, events=ORDERED_EVENTS)),
    "neighbour": (neighbours.run, replace(PRODUCTION, seconds=NEIGHBOUR_SECONDS, factor=NEIGHBOUR_FACTOR)),
    "slow": (slow.run, PRODUCTION),
    "upgrade": (upgrade.run, PRODUCTION),
    **{
        extra: (
            fault_drill.run,
            replace(PRODUCTION, extras=(extra,), kinds=KINDS[:1], seconds=EXTRA_SECONDS, rate=RATE),
        )
        for extra in EXTRAS
    },
    "throughput": (_throughput, PRODUCTION),
    "faults, roles": (fault_drill.run, replace(ROLES, tour=True, rate=RATE)),
    "release, roles": (bulk.release, replace(FEW, on="roles")),
    "ordered, roles": (ordered.run, replace(ROLES, events=ORDERED_EVENTS)),
    "slow, roles": (slow.run, ROLES),
}


def summarize(rows: Sequence[Row]) -> Outcome:
    """Return the table of all steps. At least one has to run, and none may fail."""
    verdicts = {True: "pass", False: "FAIL", None: "not run"}
    shown = {
        row.step: [
            verdicts[row.passed],
            f"{row.seconds:.0f}",
            *("" if value is None else value for value in astuple(row.numbers)),
        ]
        for row in rows
    }
    failures = {
        "steps": [row.step for row in rows if row.passed is False],
        "wrong": unmet({"no step has passed": any(row.passed for row in rows)}),
    }
    columns = ("<step", "<verdict", "seconds", "posted", "lost", "stuck", "doubled", "<figures")
    return Outcome(shown, failures, columns)


async def run(options: Options) -> Outcome:
    """Build the server if necessary, and run the steps one after the other."""
    await temporal_cluster.build()
    return summarize([await _row(name, options) for name in options.only or STEPS])


async def _row(name: str, options: Options) -> Row:
    step, its_options = STEPS[name]
    print_step(f"\n{name}: {step.__doc__ or ''}")
    began = time.monotonic()
    passed: bool | None = False
    try:
        async with asyncio.timeout(STEP_TIMEOUT):
            outcome = await step(replace(its_options, seed=options.seed, release=options.release))
    except NotInstalled as missing:
        passed, numbers = None, Numbers(figure=str(missing))
    except Exception as error:  # noqa: BLE001 - the other steps run all the same
        numbers = Numbers(figure=str(error).splitlines()[0] if isinstance(error, Failed) else repr(error))
    else:
        passed, numbers = print_outcome(outcome), outcome.numbers
    return Row(name, passed, numbers, time.monotonic() - began)
