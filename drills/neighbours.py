"""Runs the neighbour drill, of all attacks at once or of one case after the other, and prints what was measured."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from cli.console import Failed, out, print_failure
from drills.drill import MAX_SHOWN, Numbers, Options, Outcome, print_step
from drills.hostile_cases import CASES
from drills.neighbour import (
    HEALTH_LIMIT,
    LATEST_LIMIT,
    MEMORY_LIMIT,
    P95_LIMIT,
    Neighbour,
    Observed,
    quantile,
)
from drills.neighbour import run as measure
from drills.open_pages import NO_RESPONSE, PageCounts

SECONDS, CASE_SECONDS = 120.0, 20.0


async def run(options: Options) -> Outcome:
    """Let the hostile tenant attack in all ways at once, or in those of some cases."""
    seconds = min(options.seconds or (CASE_SECONDS if options.case else SECONDS), SECONDS)
    plan = (options.seed, seconds, options.factor, options.pages)
    if not options.case:
        return _outcome(await measure(*plan, shape=options.shape))
    cases, found = [*CASES] if "all" in options.case else options.case, {}
    for case in cases:
        try:  # with new processes: none finishes what another began
            found[case] = await measure(*plan, case, options.shape)
        except Failed as failure:
            print_failure(failure)
        else:
            _print_case(case, found[case], seconds)
    outcome = _outcome_of_cases(found)
    return replace(outcome, failures={**outcome.failures, "not measured": [*{*cases} - found.keys()]})


def _outcome(result: Neighbour) -> Outcome:
    late = result.beside.lateness
    for name, answers in sorted(result.answers.items()):
        print_step(f"{name}: {_by_status(answers)}")
    shown: list[tuple[str, Callable[[Observed], object], str]] = [
        ("events posted", lambda observed: len(observed.posted), ""),
        ("events refused", lambda observed: len(observed.refused), "0"),
        ("POST to 202, p95", lambda observed: _seconds(observed.waits, 0.95), _limit(P95_LIMIT, result)),
        ("POST to receiver, p50", lambda observed: _seconds(observed.lateness, 0.5), ""),
        ("POST to receiver, p95", lambda observed: _seconds(observed.lateness, 0.95), _limit(P95_LIMIT, result)),
        ("POST to receiver, latest", lambda observed: _seconds(observed.lateness, 1), _limit(LATEST_LIMIT, result)),
        ("/healthz, slowest", lambda observed: _seconds(observed.health, 1), _limit(HEALTH_LIMIT, result)),
    ]
    rows: dict[str, object] = {name: (show(result.alone), show(result.beside), limit) for name, show, limit in shown}
    for name, megabytes in result.memory.items():
        rows[f"memory of {name}, maximum"] = ("", f"{megabytes:.0f} MB", f"{MEMORY_LIMIT:.0f} MB")
    rows["deliveries with one attempt"] = ("", result.attempts.count(1), len(result.attempts))
    rows["health of its webhook"] = ("", result.health, "healthy")
    if result.pages.number:
        rows |= {name: ("", text, "") for name, text in _pages(result.pages).items()}
    doubled = sum(max(0, n - 1) for n in result.attempts)
    times = f"half within {quantile(late, 0.5):.2f} s, 95 % within {quantile(late, 0.95):.2f} s"
    return Outcome(
        rows,
        {"refused": result.beside.refused, "wrong": result.failures},
        ("<", "alone", "with attacks", "limit"),
        numbers=Numbers(len(late), late.count(math.inf), None, doubled, f"beside a hostile tenant: {times}"),
    )


def _print_case(case: str, found: Neighbour, seconds: float) -> None:
    """Print what the hostile tenant did in a case."""
    out.print(f"[bold]{case}[/bold]  {seconds:g} s, of which its client used {found.client:.1f} s of CPU time")
    for name, answers in found.answers.items():
        print_step(f"{name}: {_by_status(answers)}")
    for path, count in found.received.items():
        print_step(f"requests of its receiver {path}: {count:,}")
    print_step(
        f"p95 of accept {_seconds(found.beside.waits, 0.95)}, of delivery {_seconds(found.beside.lateness, 0.95)}"
    )
    for refusal in found.beside.refused[:MAX_SHOWN]:
        out.print(f"  {refusal}", style="red", markup=False)


def _outcome_of_cases(results: Mapping[str, Neighbour]) -> Outcome:
    """Show the quiet tenant's times in each case."""
    rows = {}
    for case, found in results.items():
        waits, late = found.beside.waits, found.beside.lateness
        measured = ((found.alone.lateness, 0.95), (waits, 0.5), (waits, 0.95), (late, 0.5), (late, 0.95))
        times = [f"{quantile(values, part) * 1000:,.0f}" for values, part in measured]
        rows[case] = [*times, late.count(math.inf), found.blocked, "FAIL" if found.failures else "pass"]
    return Outcome(
        rows,
        {case: found.failures for case, found in results.items()},
        ("<case", "alone\np95", "accept\np50", "\np95", "delivery\np50", "\np95", "\nlost", "\nloop", "\nverdict"),
        ("milliseconds; alone: delivery before the case; loop: the longest step of an event loop, if 50 or more",),
    )


def _pages(pages: PageCounts) -> dict[str, str]:
    return {
        "open pages (hostile tenant)": str(pages.number),
        "  page loads": f"{pages.loads.total()} ({_by_status(pages.loads)})",
        "  streams opened": f"{pages.streams.total()} ({_by_status(pages.streams)})",
        "  stream messages": str(pages.messages),
    }


def _by_status(answers: Mapping[str, int]) -> str:
    counts = (f"{'no response' if status == NO_RESPONSE else status} × {n:,}" for status, n in sorted(answers.items()))
    return ", ".join(counts)


def _seconds(values: list[float], part: float) -> str:
    value = quantile(values, part)
    return f"{value:.3f} s" if value < math.inf else "never"


def _limit(seconds: float, result: Neighbour) -> str:
    return f"{seconds * result.factor:g} s"
