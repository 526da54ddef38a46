"""`python -m drills`: kill, stop and starve the processes while events are posted, then compare what was observed.

The exit code is 0 if the drill passed, else 1.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from cli.console import Failed, print_failure
from cli.processes import run, until_stopped
from drills import (
    acceptance,
    bulk,
    cells,
    commands,
    fault_drill,
    glance,
    index,
    neighbours,
    ordered,
    production_like,
    rates,
    restore,
    slow,
    stores,
    upgrade,
    waiting,
    wrong_registry,
)
from drills.drill import Options, Outcome, print_outcome
from drills.hostile_cases import CASES
from drills.schedule import KINDS
from drills.shape import EXTRAS, SERVERS

DRILLS: dict[str, Callable[[Options], Awaitable[Outcome]]] = {
    "faults": fault_drill.run,
    "waiting": waiting.run,
    "ordered": ordered.run,
    "release": bulk.release,
    "recovery": bulk.recovery,
    "index": index.run,
    "commands": commands.run,
    "acceptance": acceptance.run,
    "neighbour": neighbours.run,
    "rates": rates.run,
    "glance": glance.run,
    "slow": slow.run,
    "production": production_like.run,
    "upgrade": upgrade.run,
    "cells": cells.run,
    "restore": restore.run,
    "wrong-registry": wrong_registry.run,
    "stores": stores.run,
}
HAVE_NO_ON = {"waiting", "index", "acceptance", "glance", "cells", "production", "restore", "stores", "wrong-registry"}
"""Drills whose processes cannot be chosen."""


def main() -> None:
    """Run a drill, and exit with its code."""
    options = _parse()
    _clear_environment()
    passed = False

    async def work() -> None:
        nonlocal passed
        async with until_stopped():  # a mounted disk has to be unmounted
            passed = print_outcome(await DRILLS[options.drill](options), f"seed {options.seed}")

    try:
        run(work())
    except Failed as failure:
        print_failure(failure)
    sys.exit(0 if passed else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m drills", description=__doc__)
    parser.set_defaults(**asdict(Options()))
    add = parser.add_argument
    add("drill", nargs="?", choices=DRILLS, help="the drill to run (%(default)s)")
    add("--on", choices=SERVERS, help="the embedded Temporal server, or a stack as in production")
    extras = "with --on production or roles: TLS, encryption, PgBouncer"
    add("--with", dest="extras", nargs="+", choices=EXTRAS, help=extras)
    add("--only", nargs="+", choices=production_like.STEPS, help="production: only these steps")
    add("--seed", type=int, help="decides the faults and the receivers' responses (the time)")
    add("--rate", type=float, help="events a second (20; release and recovery: 40; glance: 5; upgrade: 4)")
    add(
        "--seconds",
        type=float,
        help="how long events are posted (600; neighbour: 120, at most; a case: 20; stores: 20, twice); "
        "glance: how long webhooks are broken (60); upgrade: how long each release works (15)",
    )
    add("--tour", action="store_true", help="faults: kill each process once, then let the database fail in each way")
    add("--long", action="store_true", help="stores: stop Temporal for five minutes too")
    add("--kinds", nargs="+", choices=KINDS, help="faults: only these kinds (default: all but clock)")
    keep = "faults, acceptance, glance, stores: an empty folder in which data, logs and observations are kept"
    add("--keep", type=Path, help=keep)
    add("--runs", type=int, help="waiting: number of runs (%(default)d)")
    add(
        "--events",
        type=int,
        help="number of events (ordered: 100, or 20,000 with keys; release: 1,000; recovery, index: 2,000; "
        "commands: 90 beside each kill; rates: 3,000; acceptance: 10,000; slow: 60, restore: 40 of each kind; "
        "stores: 20 in each state)",
    )
    release = "upgrade, production: the earlier release, a revision of git (the latest tag)"
    add("--from", dest="release", help=release)
    add("--keys", type=_number, nargs="?", const=1000, help="ordered: number of keys (%(const)d)")
    add("--case", nargs="+", choices=("all", *CASES), help="neighbour: attack in these ways, one after the other")
    add(
        "--factor",
        type=float,
        help="neighbour, glance, stores, wrong-registry: multiplies the time limits (%(default)g)",
    )
    add("--pages", type=_number, help="neighbour: pages that the hostile tenant keeps open (%(default)d)")
    return parser


def _parse() -> Options:
    parser = _parser()
    options = Options(**vars(parser.parse_args()))
    if options.extras and not options.shape.is_production:
        parser.error("--with needs --on production or --on roles")
    if options.shape.is_production and options.drill in HAVE_NO_ON:
        parser.error(f"{options.drill} has no --on")
    return options


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
