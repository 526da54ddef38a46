"""`python -m drills`: kill, stop and starve the processes while events are posted, then compare what was observed.

The exit code is 0 if the drill passed, else 1.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from drills import (
    acceptance,
    bulk,
    cells,
    fault_drill,
    glance,
    index,
    neighbour,
    ordered,
    production_like,
    rates,
    report,
    restore,
    slow,
    upgrade,
    waiting,
)
from drills.fault_drill import DrillPlan
from drills.hostile_cases import CASES
from drills.schedule import KINDS, USUAL, make_tour
from drills.shape import EMBEDDED, EXTRAS, SERVERS, Shape
from hookkeeper.cli.console import Failed, print_failure
from hookkeeper.cli.processes import run, until_stopped

SECONDS, RATE = 600.0, 20.0
NEIGHBOUR_SECONDS, CASE_SECONDS = 120.0, 20.0


def main() -> None:
    """Run a drill, and exit with its code."""
    arguments = _parse()
    _clear_environment()
    passed = False

    async def work() -> None:
        nonlocal passed
        async with until_stopped():  # a mounted disk has to be unmounted
            passed = await DRILLS[arguments.drill](arguments)

    try:
        run(work())
    except Failed as failure:
        print_failure(failure)
    sys.exit(0 if passed else 1)


async def _faults(arguments: argparse.Namespace) -> bool:
    schedule = make_tour(arguments.shape) if arguments.tour else None
    seconds = arguments.seconds or (schedule[-1].at if schedule else SECONDS)
    rate, keep = arguments.rate or RATE, arguments.keep
    plan = DrillPlan(arguments.seed, seconds, rate, arguments.kinds, arguments.shape, schedule, keep)
    report.print_plan(plan)
    return report.print_result(plan, await fault_drill.run(plan, report.print_fault))


async def _waiting(arguments: argparse.Namespace) -> bool:
    rate = arguments.rate or RATE
    return report.print_waited(await waiting.run(arguments.seed, arguments.runs, rate, report.print_step))


async def _ordered(arguments: argparse.Namespace) -> bool:
    seed, shape, print_step = arguments.seed, arguments.shape, report.print_step
    if arguments.keys:
        events = arguments.events or 20_000
        return report.print_keyed(await ordered.run_with_keys(seed, events, arguments.keys, print_step, shape))
    return report.print_ordered(await ordered.run(seed, arguments.events or 100, print_step, shape))


async def _release(arguments: argparse.Namespace) -> bool:
    events, rate = arguments.events or bulk.RELEASED_EVENTS, arguments.rate or bulk.RATE
    return report.print_release(await bulk.release(arguments.seed, events, rate, report.print_step, arguments.shape))


async def _recovery(arguments: argparse.Namespace) -> bool:
    events, rate = arguments.events or bulk.RECOVERED_EVENTS, arguments.rate or bulk.RATE
    return report.print_recovery(await bulk.recovery(arguments.seed, events, rate, report.print_step, arguments.shape))


async def _index(arguments: argparse.Namespace) -> bool:
    events, rate = arguments.events or index.EVENTS, arguments.rate or index.RATE
    return report.print_index(await index.run(arguments.seed, events, rate, report.print_step))


async def _acceptance(arguments: argparse.Namespace) -> bool:
    events = arguments.events or acceptance.EVENTS
    return report.print_acceptance(await acceptance.run(arguments.seed, events, arguments.keep, report.print_step))


async def _neighbour(arguments: argparse.Namespace) -> bool:
    seconds = min(arguments.seconds or (CASE_SECONDS if arguments.case else NEIGHBOUR_SECONDS), NEIGHBOUR_SECONDS)
    plan = (arguments.seed, seconds, arguments.factor, arguments.pages, report.print_step)
    if not arguments.case:
        return report.print_neighbour(await neighbour.run(*plan, shape=arguments.shape))
    cases, found = [*CASES] if "all" in arguments.case else arguments.case, {}
    for case in cases:
        try:  # with new processes: none finishes what another began
            found[case] = await neighbour.run(*plan, case, arguments.shape)
        except Failed as failure:
            print_failure(failure)
        else:
            report.print_case(case, found[case], seconds)
    return report.print_cases(found) and len(found) == len(cases)


async def _rates(arguments: argparse.Namespace) -> bool:
    events = arguments.events or rates.EVENTS
    return report.print_rates(await rates.run(arguments.seed, events, report.print_step, arguments.shape))


async def _glance(arguments: argparse.Namespace) -> bool:
    rate, seconds = arguments.rate or glance.RATE, arguments.seconds or glance.SECONDS
    plan = (arguments.seed, rate, seconds, arguments.factor, arguments.keep)
    return report.print_glance(await glance.run(*plan, report.print_step))


async def _slow(arguments: argparse.Namespace) -> bool:
    events = arguments.events or slow.EVENTS
    return report.print_slowed(await slow.run(arguments.seed, events, report.print_step, arguments.shape))


async def _production(arguments: argparse.Namespace) -> bool:
    return production_like.print_steps(await production_like.run(arguments.seed, arguments.only, arguments.release))


async def _upgrade(arguments: argparse.Namespace) -> bool:
    earlier = arguments.release or upgrade.latest_tag()
    plan = (arguments.seed, earlier, arguments.seconds or upgrade.SECONDS, arguments.rate or upgrade.RATE)
    return report.print_upgrade(await upgrade.run(*plan, report.print_step, arguments.shape))


async def _cells(arguments: argparse.Namespace) -> bool:
    return report.print_moved(await cells.run(arguments.seed, report.print_step))


async def _restore(arguments: argparse.Namespace) -> bool:
    return report.print_restored(await restore.run(arguments.events or restore.EVENTS, report.print_step))


DRILLS = {
    "faults": _faults,
    "waiting": _waiting,
    "ordered": _ordered,
    "release": _release,
    "recovery": _recovery,
    "index": _index,
    "acceptance": _acceptance,
    "neighbour": _neighbour,
    "rates": _rates,
    "glance": _glance,
    "slow": _slow,
    "production": _production,
    "upgrade": _upgrade,
    "cells": _cells,
    "restore": _restore,
}
HAVE_NO_ON = {"waiting", "index", "acceptance", "glance", "cells", "production", "restore"}
"""Drills whose processes cannot be chosen."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m drills", description=__doc__)
    add = parser.add_argument
    add("drill", nargs="?", choices=DRILLS, default="faults", help="the drill to run (%(default)s)")
    servers = "the embedded Temporal server, or a stack as in production"
    add("--on", choices=SERVERS, default=EMBEDDED.server, help=servers)
    extras = "with --on production or roles: TLS, encryption, PgBouncer"
    add("--with", dest="extras", nargs="+", choices=EXTRAS, default=(), help=extras)
    add("--only", nargs="+", choices=production_like.STEPS, default=(), help="production: only these steps")
    add("--seed", type=int, default=int(time.time()), help="decides the faults and the receivers' responses")
    add("--rate", type=float, help="events a second (20; release and recovery: 40; glance: 5; upgrade: 4)")
    add(
        "--seconds",
        type=float,
        help="how long events are posted (600; neighbour: 120, at most; a case: 20); "
        "glance: how long webhooks are broken (60); upgrade: how long each release works (15)",
    )
    add("--tour", action="store_true", help="faults: kill each process once, then let the database fail in each way")
    add("--kinds", nargs="+", choices=KINDS, default=USUAL, help="faults: only these kinds (default: all but clock)")
    keep = "faults, acceptance, glance: an empty folder in which data, logs and observations are kept"
    add("--keep", type=Path, help=keep)
    add("--runs", type=int, default=10_000, help="waiting: number of runs (%(default)d)")
    add(
        "--events",
        type=int,
        help="number of events (ordered: 100, or 20,000 with keys; release: 1,000; recovery, index: 2,000; "
        "rates: 3,000; acceptance: 10,000; slow: 60, restore: 40 of each kind)",
    )
    release = "upgrade, production: the earlier release, a revision of git (the latest tag)"
    add("--from", dest="release", default="", help=release)
    add("--keys", type=_number, nargs="?", const=1000, default=0, help="ordered: number of keys (%(const)d)")
    add("--case", nargs="+", choices=("all", *CASES), help="neighbour: attack in these ways, one after the other")
    add("--factor", type=float, default=1.0, help="neighbour, glance: multiplies the time limits (%(default)g)")
    add("--pages", type=_number, default=0, help="neighbour: pages that the hostile tenant keeps open (%(default)d)")
    return parser


def _parse() -> argparse.Namespace:
    parser = _parser()
    arguments = parser.parse_args()
    arguments.shape = Shape(arguments.on, frozenset(arguments.extras))
    if arguments.extras and not arguments.shape.is_production:
        parser.error("--with needs --on production or --on roles")
    if arguments.shape.is_production and arguments.drill in HAVE_NO_ON:
        parser.error(f"{arguments.drill} has no --on")
    return arguments


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("must be a whole number, 0 or more")
    return int(text)


def _clear_environment() -> None:
    """Remove settings of Hookkeeper and Temporal, so that the seed alone decides."""
    for name in [name for name in os.environ if name.startswith(("HOOKKEEPER_", "TEMPORAL_"))]:
        del os.environ[name]
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        # Otherwise each restart compiles a thousand modules again.
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / f"hookkeeper-bytecode-{os.getuid()}")


if __name__ == "__main__":
    main()
