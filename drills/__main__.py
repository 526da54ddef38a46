"""`make drill`: kill, stop and starve the processes while events come in, then check the books. Exit code 0 or 1."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from drills import drill, neighbour, ordered, report, waiting
from drills.drill import Plan
from drills.schedule import KINDS, USUAL
from hookkeeper.cli.console import Failed, print_failure
from hookkeeper.cli.processes import run, until_stopped


def main() -> None:
    """Read what is asked for, do it, and end with its code."""
    asked = _parser().parse_args()
    _forget_what_is_set()
    passed: list[bool] = []

    async def work() -> None:
        async with until_stopped():  # a disk that is mounted has to be unmounted
            passed.append(await DRILLS[asked.drill](asked))

    try:
        run(work())
    except Failed as failure:
        print_failure(failure)
    sys.exit(0 if passed == [True] else 1)


async def _faults(asked: argparse.Namespace) -> bool:
    plan = Plan(asked.seed, asked.seconds, asked.rate, asked.kinds, asked.keep)
    report.print_plan(plan)
    return report.print_result(plan, await drill.run(plan, report.print_fault))


async def _waiting(asked: argparse.Namespace) -> bool:
    return report.print_waited(await waiting.run(asked.seed, asked.runs, asked.rate, report.print_step))


async def _ordered(asked: argparse.Namespace) -> bool:
    return report.print_ordered(await ordered.run(asked.seed, asked.events, report.print_step))


async def _neighbour(asked: argparse.Namespace) -> bool:
    seconds = min(asked.seconds, NEIGHBOUR_SECONDS)
    return report.print_neighbour(await neighbour.run(asked.seed, seconds, asked.factor, report.print_step))


DRILLS = {"faults": _faults, "waiting": _waiting, "ordered": _ordered, "neighbour": _neighbour}
NEIGHBOUR_SECONDS = 120.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m drills", description=__doc__)
    add = parser.add_argument
    add("drill", nargs="?", choices=DRILLS, default="faults", help="which one (%(default)s)")
    add("--seed", type=int, default=int(time.time()), help="the same seed: the same faults and answers")
    add("--rate", type=float, default=20, help="events a second (%(default)g)")
    add(
        "--seconds",
        type=float,
        default=600,
        help="how long events are posted (%(default)g; neighbour: 120 at most)",
    )
    add("--kinds", nargs="+", choices=KINDS, default=USUAL, help="faults: of these kinds only (all but clock)")
    add("--keep", type=Path, help="faults: an empty folder that data, logs and books stay in")
    add("--runs", type=int, default=10_000, help="waiting: how many (%(default)d)")
    add("--events", type=int, default=100, help="ordered: how many (%(default)d)")
    add("--factor", type=float, default=1.0, help="neighbour: by which its limits on time are longer (%(default)g)")
    return parser


def _forget_what_is_set() -> None:
    """Let nothing that is set for Hookkeeper or Temporal outside count: the seed alone decides."""
    for name in [name for name in os.environ if name.startswith(("HOOKKEEPER_", "TEMPORAL_"))]:
        del os.environ[name]
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        # Each restart would compile a thousand modules anew.
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / f"hookkeeper-bytecode-{os.getuid()}")


if __name__ == "__main__":
    main()
