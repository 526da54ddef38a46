"""`python -m benchmarks`: measure Hookkeeper beside other systems that deliver events.

Each contender runs as on a real machine, as processes of its own, and so do the receiver and the load generator.
Compare ratios within one run, not absolute figures of different runs. The exit code is 1 if a measurement failed.
"""

import argparse
import os
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import suite
from benchmarks.contenders.hookkeeper import PYTHON_BEFORE
from benchmarks.contenders.table import CONTENDERS
from benchmarks.report import losses, markdown
from benchmarks.results import Results, new_file
from benchmarks.scenarios import SCENARIOS
from cli.console import Failed, print_failure
from cli.processes import run, until_stopped
from drills.upgrade import installed

_print = partial(print, flush=True)
RESULTS = Path(__file__).parent / "results"
DEFAULT_TURNS, NAMED_TURNS = 3, 5
DEFAULT_MINUTES, NAMED_MINUTES = 16.0, 240.0
BEFORE_AND_NOW = ["before", "hookkeeper"]


def main() -> None:
    """Measure, and exit with the code."""
    if not sys.platform.startswith("linux"):
        print_failure(Failed("the benchmarks need Linux: CPU time and memory come from /proc"))
        sys.exit(1)
    parser = _parser()
    arguments = parser.parse_args()
    if unknown := set(arguments.scenarios) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    with ExitStack() as stack:
        if arguments.before:
            try:
                os.environ[PYTHON_BEFORE] = stack.enter_context(installed(arguments.before))
            except Failed as failure:
                parser.error(str(failure))
        sys.exit(_measure(arguments))


def _measure(arguments: argparse.Namespace) -> int:
    plan, skipped = _plan(arguments)
    options = {name: value for name, value in vars(arguments).items() if name != "results"}
    results = Results(new_file(arguments.results), options, skipped=skipped)
    for name, why in skipped.items():
        _print(f"{CONTENDERS[name].title} is skipped: {why}")
    began = time.monotonic()

    async def work() -> None:
        async with until_stopped():
            await suite.run(plan, results, _print)

    run(work())
    _finish(results, time.monotonic() - began)
    return 1 if results.failures or not results.samples else 0


def _finish(results: Results, seconds: float) -> None:
    results.save()
    table = results.file.with_suffix(".md")
    table.write_text(markdown(results))
    _print(f"\n{markdown(results)}")
    state = "All" if results.is_complete else "Not all measurements; these"
    if PYTHON_BEFORE in os.environ:
        lost = losses(results)
        _print("\n".join(["Worse by more than 5 %:", *lost] if lost else ["Nothing is worse by more than 5 %."]))
    _print(f"{state} took {seconds / 60:.1f} minutes. Results: {results.file}, tables: {table}")
    for sample in results.failures:
        _print(f"FAILED: {sample.scenario}, {sample.contender}, turn {sample.turn + 1}: {sample.error}")


def _plan(arguments: argparse.Namespace) -> tuple[suite.SuitePlan, dict[str, str]]:
    """Return what to measure, and the contenders that cannot run here with the reason."""
    named = bool(arguments.scenarios)
    chosen = arguments.contenders or (BEFORE_AND_NOW if arguments.before else None)
    is_long = named or bool(arguments.before)
    scenarios = [
        scenario
        for name, scenario in SCENARIOS.items()
        if (name in arguments.scenarios if named else scenario.is_default)
    ]
    needed = {
        name
        for name, contender in CONTENDERS.items()
        if contender.is_default and any(each.contenders is None or name in each.contenders for each in scenarios)
    }
    wanted = [each for name, each in CONTENDERS.items() if name in (chosen or needed)]
    reasons = {contender.name: contender.why_missing() for contender in wanted}
    plan = suite.SuitePlan(
        contenders=[contender for contender in wanted if reasons[contender.name] is None],
        scenarios=scenarios,
        chosen=bool(chosen),
        turns=arguments.turns or (NAMED_TURNS if named else DEFAULT_TURNS),
        minutes=arguments.minutes or (NAMED_MINUTES if is_long else DEFAULT_MINUTES),
        scale=arguments.scale,
        encrypt=arguments.encrypt,
        closed=tuple(sorted(arguments.closed)),
    )
    return plan, {name: why for name, why in reasons.items() if why is not None}


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(
        f"  {name:<11} {scenario.title}{'' if scenario.is_default else ' (only if named)'}"
        for name, scenario in SCENARIOS.items()
    )
    contenders = "\n".join(f"  {name:<11} {contender.title}" for name, contender in CONTENDERS.items())
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description=__doc__,
        epilog=f"scenarios:\n{listed}\n\ncontenders:\n{contenders}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("scenarios", nargs="*", metavar="SCENARIO", help="default: most of them")
    add("--contenders", nargs="+", metavar="NAME", choices=CONTENDERS, help="default: those that the scenario needs")
    add(
        "--before",
        metavar="REVISION",
        help="measure a revision of git beside this code, and list what is worse now by more than 5 %%",
    )
    add("--turns", type=int, help=f"turns of each contender ({DEFAULT_TURNS}; of named scenarios: {NAMED_TURNS})")
    add(
        "--minutes",
        type=float,
        help=f"no scenario begins after them ({DEFAULT_MINUTES:g}; named, or --before: {NAMED_MINUTES:g})",
    )
    add("--scale", type=float, default=1.0, help="multiplies numbers of events and durations")
    add("--encrypt", action="store_true", help="Hookkeeper encrypts")
    add("--closed", type=int, nargs="+", default=[0, 10_000, 100_000], help="growth: numbers of closed events")
    add("--results", type=Path, default=RESULTS, help="the folder for JSON and tables")
    return parser


if __name__ == "__main__":
    main()
