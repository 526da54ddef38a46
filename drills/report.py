"""Prints the results of drills."""

import math
from collections.abc import Callable, Mapping, Sequence

from rich.table import Table

from drills.acceptance import AcceptanceResult
from drills.bulk import DISPLACEMENT_LIMIT, Recovery, Release, Summary
from drills.cells import Moved
from drills.fault_drill import DrillPlan, DrillResult
from drills.glance import VIEWS, Glance
from drills.index import Indexed
from drills.neighbour import HEALTH_LIMIT, LATEST_LIMIT, MEMORY_LIMIT, P95_LIMIT, Neighbour, Observed, quantile
from drills.open_pages import NO_RESPONSE, PageCounts
from drills.ordered import Keyed, Ordered
from drills.rates import BACKLOG_RATE, OTHER_EVENTS, OTHER_RATE, Rated
from drills.restore import Restored
from drills.slow import Slowed
from drills.upgrade import Upgraded
from drills.verdict import Verdict
from drills.waiting import API_LIMIT, LATENESS_LIMIT, WORKER_LIMIT, Waited
from hookkeeper.cli.console import out

WIDTH = 160
"""Characters of a wide table, also where the output is no terminal."""
MAX_SHOWN = 10
"""Number of failures of each kind that are printed."""


def print_plan(plan: DrillPlan) -> None:
    out.print(
        f"[bold]Hookkeeper drill[/bold]  seed {plan.seed}, {plan.seconds:g} s, {plan.rate:g} events/s,"
        f" two webhooks, {', '.join(plan.shape.targets)}\n"
    )


def print_fault(at: float, text: str) -> None:
    out.print(f"  [dim]{at:6.1f} s[/dim]  {text}")


def print_wide(table: Table) -> None:
    table.width = max(out.width, WIDTH)
    out.print(table, crop=False)


def print_step(text: str) -> None:
    out.print(f"  [dim]{text}[/dim]")


# Each of these prints a result, and returns whether the drill passed.


def print_result(plan: DrillPlan, result: DrillResult) -> bool:
    verdict, failures = result.verdict, result.verdict.failures
    table = _table(_counts(verdict))
    table.caption = ", ".join(f"{name} {count}" for name, count in sorted(verdict.faults.items()))
    out.print(table)
    for text in result.left_out:
        out.print(f"  [dim]not injected: {text}[/dim]")
    _print_failures(failures)
    return _print_verdict(not failures, f"  seed {plan.seed}")


def print_waited(waited: Waited) -> bool:
    table = _columns("", "measured", "limit")
    table.add_row("runs that continued", f"{waited.retried} of {waited.runs}", "all")
    table.add_row("  whose first attempt was in flight at the kill", str(waited.in_flight), "")
    for name, memory in waited.memory.items():
        limit = API_LIMIT if name == "api" else WORKER_LIMIT
        with_children = f" ({memory.whole:.0f} with its children)" if memory.whole > memory.own else ""
        table.add_row(f"resident memory of {name}{with_children}", f"{memory.own:.0f} MB", f"{limit:.0f} MB")
    table.add_row("everything ready again after", f"{waited.restart:.1f} s", "")
    for name, seconds in (("median", waited.quantile(0.5)), ("latest", waited.quantile(1.0))):
        table.add_row(f"lateness, {name}", f"{seconds:.2f} s", "")
    table.add_row("lateness, 99 %", f"{waited.quantile(0.99):.2f} s", f"{LATENESS_LIMIT:g} s")
    out.print(table)
    return _print_verdict(waited.passed)


def print_restored(found: Sequence[Restored]) -> bool:
    table = _columns("", *found[0].counts, "ready")
    for one in found:
        table.add_row(one.case.name, *map(str, one.counts.values()), f"{one.seconds:.0f} s")
    print_wide(table)
    _print_failures({f"{one.case.name}: {name}": events for one in found for name, events in one.failures.items()})
    return _print_verdict(not any(one.failures for one in found))


def print_keyed(result: Keyed) -> bool:
    table = _columns("", "events/s", "ordered events in relation")
    table.add_row("unordered, in shared runs", f"{result.shared_rate:.0f}", f"{result.rate / result.shared_rate:.2f}")
    table.add_row("unordered, with a run each", f"{result.own_rate:.0f}", f"{result.rate / result.own_rate:.2f}")
    table.add_row(f"ordered, {result.keys} keys", f"{result.rate:.0f}", "")
    table.caption = f"{result.events} ordered events, {result.requests} requests, in {result.seconds:.0f} s"
    out.print(table)
    _print_failures({"out of order": result.out_of_order, "lost": result.lost})
    return _print_verdict(result.passed)


def print_ordered(result: Ordered) -> bool:
    rows = {
        "events accepted": len(result.accepted),
        "workers killed": result.kills,
        "requests": len(result.requests),
        "  refused by the receiver": result.failed,
        "  repeated after delivery": result.repeated,
        "in order, without repeated requests": "yes" if result.received == result.accepted else "no",
        "events not succeeded": result.open,
        "from the first post to the last delivery": f"{result.seconds:.1f} s",
    }
    out.print(_table(rows))
    return _print_verdict(result.passed)


def print_slowed(result: Slowed) -> bool:
    rows = {
        "events accepted": f"{len(result.accepted)} of {result.posted}",
        "  refused before, while Temporal stood still": result.interrupted,
        "interrupted events accepted within": f"{result.slowest(is_new=False):.1f} s",
        "new events accepted within": f"{result.slowest(is_new=True):.1f} s",
        "lost": len(result.lost),
        "stuck": len(result.stuck),
        "delivered twice": result.repeated,
    }
    out.print(_table(rows))
    return _print_verdict(result.passed)


def print_moved(result: Moved) -> bool:
    for each in result.tenants:
        rows = {
            "accepted, requests in order and others": (
                f"{len(each.accepted)}, {len(each.ordered)}, {len(each.unordered)}"
            ),
            "lost, doubled, refused": f"{each.lost}, {each.doubled}, {len(each.refused)}",
            "in order": "yes" if each.in_order else "no",
        }
        out.print(f"tenant {each.tenant}")
        out.print(_table(rows))
    out.print(f"moved in {result.seconds:.0f} s; the new cell has accepted {result.in_new_cell} events")
    return _print_verdict(result.passed)


def print_release(result: Release) -> bool:
    displacement = f"{result.displacement} positions (limit {DISPLACEMENT_LIMIT})"
    out.print(_table({**_summary(result.summary), "largest deviation from the order": displacement}))
    return _print_verdict(result.passed)


def print_recovery(result: Recovery) -> bool:
    counts = ", ".join(f"{name} {count}" for name, count in result.counts.items())
    logged = f"{result.logged_attempts} of {result.logged_events} events (wanted: {2 * result.summary.wanted})"
    out.print(_table({**_summary(result.summary), "the recovery": counts, "attempts in the log": logged}))
    return _print_verdict(result.passed)


def print_index(result: Indexed) -> bool:
    rows = {
        "events": f"{result.events} ({_named(result.statuses)})",
        "attempts": result.attempts,
        "commands": _named(result.commands),
        "processes killed": result.kills,
        "looks at the list while events were posted": result.looks,
        "  accepted events that it lacked": len(result.unlisted),
        "events not accepted": result.unaccepted,
        "events not finished, or never accepted": result.unfinished,
        "runs that did not close": result.open_runs,
        "differences as soon as all had closed": len(result.differences),
    }
    out.print(_table(rows))
    _print_failures({"not listed": result.unlisted, "differences": result.differences})
    return _print_verdict(result.passed)


def print_rates(result: Rated) -> bool:
    table = _columns("", "measured", "wanted")
    table.add_row("events refused", str(result.refused), "0")
    table.add_row("events of the backlog", str(result.backlog), "")
    table.add_row("  waiting at the end", str(result.waiting), "some")
    table.add_row("  requests a second", f"{result.backlog_rate:.2f}", f"{BACKLOG_RATE:g}")
    table.add_row("events of the other tenant that arrived", str(result.other), str(OTHER_EVENTS))
    table.add_row("  requests a second", f"{result.other_rate:.2f}", f"{OTHER_RATE:g}")
    out.print(table)
    return _print_verdict(result.passed)


def print_acceptance(result: AcceptanceResult) -> bool:
    verdict = result.verdict
    rows = {
        "events accepted": verdict.accepted,
        "  finished by shared runs": result.shared,
        "deliveries made": verdict.delivered,
        "lost": len(verdict.lost),
        "stuck": len(verdict.stuck),
        "duplicates": verdict.duplicates,
        "  explained by a fault": verdict.duplicates - len(verdict.unexplained),
        "refused": len(verdict.refused) + len(verdict.unaccepted),
        "posted again": result.repeated,
        "  not known, or known with other data": len(result.forgotten),
        "faults": sum(result.faults.values()),
        **{f"  {name}": count for name, count in sorted(result.faults.items())},
    }
    out.print(_table(rows))
    _print_failures(result.failures)
    return _print_verdict(not result.failures)


def _print_failures(failures: Mapping[str, Sequence[str]]) -> None:
    for name, found in failures.items():
        if not found:
            continue
        out.print(f"\n  [red]{name}[/red] ({len(found)})")
        for failure in found[:MAX_SHOWN]:
            out.print(f"    {failure}", markup=False)


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def print_neighbour(result: Neighbour) -> bool:
    attacks = Table(box=None, padding=(0, 2))
    for column in ("attack", "responses to the hostile tenant"):
        attacks.add_column(column)
    for name, answers in sorted(result.answers.items()):
        attacks.add_row(name, _by_status(answers))
    out.print(attacks)
    table = _columns("", "alone", "with attacks", "limit")
    rows: list[tuple[str, Callable[[Observed], object], str]] = [
        ("events posted", lambda observed: len(observed.posted), ""),
        ("events refused", lambda observed: len(observed.refused), "0"),
        ("POST to 202, p95", lambda observed: _seconds(observed.waits, 0.95), _limit(P95_LIMIT, result)),
        ("POST to receiver, p50", lambda observed: _seconds(observed.lateness, 0.5), ""),
        ("POST to receiver, p95", lambda observed: _seconds(observed.lateness, 0.95), _limit(P95_LIMIT, result)),
        ("POST to receiver, latest", lambda observed: _seconds(observed.lateness, 1), _limit(LATEST_LIMIT, result)),
        ("/healthz, slowest", lambda observed: _seconds(observed.health, 1), _limit(HEALTH_LIMIT, result)),
    ]
    for name, show, limit in rows:
        table.add_row(name, str(show(result.alone)), str(show(result.beside)), limit)
    for name, megabytes in result.memory.items():
        table.add_row(f"memory of {name}, maximum", "", f"{megabytes:.0f} MB", f"{MEMORY_LIMIT:.0f} MB")
    table.add_row("deliveries with one attempt", "", str(result.attempts.count(1)), str(len(result.attempts)))
    table.add_row("health of its webhook", "", result.health, "healthy")
    if result.pages.number:
        for name, shown in _pages(result.pages).items():
            table.add_row(name, "", shown, "")
    out.print(table)
    for refusal in result.beside.refused[:MAX_SHOWN]:
        out.print(f"    {refusal}", markup=False)
    for failure in result.failures:
        out.print(f"  [red]{failure}[/red]")
    return _print_verdict(not result.failures)


def print_case(case: str, found: Neighbour, seconds: float) -> None:
    """Print what the hostile tenant did in a case."""
    out.print(f"[bold]{case}[/bold]  {seconds:g} s, of which its client used {found.client:.1f} s of CPU time")
    for name, answers in found.answers.items():
        print_step(f"{name}: {_by_status(answers)}")
    for path, count in found.received.items():
        print_step(f"requests of its receiver {path}: {count:,}")
    print_step(
        f"p95 of accept {_seconds(found.beside.waits, 0.95)}, of delivery {_seconds(found.beside.lateness, 0.95)}"
    )
    for failure in (*found.failures, *found.beside.refused[:MAX_SHOWN]):
        out.print(f"  {failure}", style="red", markup=False)


def print_cases(results: Mapping[str, Neighbour]) -> bool:
    """Print the quiet tenant's times in each case."""
    caption = "milliseconds; alone: delivery before the case; loop: the longest step of an event loop, if 50 or more"
    table = Table(box=None, padding=(0, 1, 0, 0), caption=caption)
    table.add_column("case")
    for name in ("alone\np95", "accept\np50", "\np95", "delivery\np50", "\np95", "\nlost", "\nloop", "\nverdict"):
        table.add_column(name, justify="right")
    for case, found in results.items():
        waits, late = found.beside.waits, found.beside.lateness
        measured = ((found.alone.lateness, 0.95), (waits, 0.5), (waits, 0.95), (late, 0.5), (late, 0.95))
        shown = [f"{quantile(values, part) * 1000:,.0f}" for values, part in measured]
        verdict = "[red]FAIL[/red]" if found.failures else "[green]pass[/green]"
        table.add_row(case, *shown, str(late.count(math.inf)), str(found.blocked), verdict)
    out.print(table)
    return _print_verdict(bool(results) and not any(found.failures for found in results.values()))


def print_glance(result: Glance) -> bool:
    table = _columns("", "cause", *VIEWS, "late", "mended")
    for row in result.rows:
        named = [_after(row.named[view]) if view in row.named else "" for view in VIEWS]
        table.add_row(row.name, row.cause, *named, f"{row.late:.1f}", _after(max(row.healthy.values(), default=0.0)))
    out.print(table)
    out.print(
        "  [dim]Seconds until each names the cause; from the first failure to the last green; until all is green.[/dim]"
    )
    out.print(f"  all is well {_after(result.well)} s after everything was delivered again")
    _print_failures({"wrong": result.failures})
    return _print_verdict(not result.failures)


def print_upgrade(result: Upgraded) -> bool:
    table = _columns("", "events", "delivered", "lost", "stuck", "twice", "longest")
    for name, found in result.verdicts.items():
        counts = (found.accepted, found.delivered, len(found.lost), len(found.stuck), found.duplicates)
        table.add_row(name, *map(str, counts), f"{found.longest:.0f} s")
    out.print(table)
    _print_failures(result.all_failures)
    return _print_verdict(not result.all_failures)


def _after(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < math.inf else "never"


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


def _print_verdict(passed: bool, details: str = "") -> bool:
    out.print(("\n[green]PASS[/green]" if passed else "\n[red]FAIL[/red]") + details)
    return passed


def _table(rows: Mapping[str, object]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _columns(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2))
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    return table


def _counts(verdict: Verdict) -> dict[str, object]:
    return {
        "events accepted": verdict.accepted,
        "deliveries made": verdict.delivered,
        "lost": len(verdict.lost),
        "stuck": len(verdict.stuck),
        "duplicates": verdict.duplicates,
        "  explained by a fault": verdict.duplicates - len(verdict.unexplained),
        "  unexplained": len(verdict.unexplained),
        "in flight at faults": verdict.in_flight,
        "requests not in the log": verdict.unlogged,
        "  unexplained, not in the log": len(verdict.unexplained_unlogged),
        "requests sent again at once": verdict.repeated,
        "late responses": verdict.late,
        "responses that no receiver gave": len(verdict.unseen),
        "changes of a webhook accepted": verdict.changes,
        "changes lost": len(verdict.changes_lost),
        "longest from acceptance to delivery": f"{verdict.longest:.1f} s",
        "faults": sum(verdict.faults.values()),
    }


def _summary(summary: Summary) -> dict[str, object]:
    return {
        "events received": f"{summary.received} of {summary.wanted}",
        "requests repeated": summary.repeated,
        "  unexplained": summary.unexplained,
        "in flight when everything was killed": summary.in_flight,
    }


def _seconds(values: list[float], part: float) -> str:
    value = quantile(values, part)
    return f"{value:.3f} s" if value < math.inf else "never"


def _limit(seconds: float, result: Neighbour) -> str:
    return f"{seconds * result.factor:g} s"
