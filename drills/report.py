"""How a drill says what it came to."""

from collections.abc import Callable

from rich.table import Table

from drills.drill import Plan, Result
from drills.neighbour import HEALTH_LIMIT, LATEST_LIMIT, MEMORY_LIMIT, P95_LIMIT, Neighbour, Observed, quantile
from drills.ordered import Ordered
from drills.verdict import Verdict
from drills.waiting import API_LIMIT, LATENESS_LIMIT, WORKER_LIMIT, Waited
from hookkeeper.cli.console import out

SHOWN = 10
"""So many of each thing that went wrong are named."""


def print_plan(plan: Plan) -> None:
    out.print(
        f"[bold]Hookkeeper drill[/bold]  seed {plan.seed}, {plan.seconds:g} s, {plan.rate:g} events/s,"
        " two webhooks, two workers, PostgreSQL\n"
    )


def print_fault(at: float, text: str) -> None:
    out.print(f"  [dim]{at:6.1f} s[/dim]  {text}")


def print_result(plan: Plan, result: Result) -> bool:
    """Print everything; say whether the drill passed."""
    verdict, failures = result.verdict, result.verdict.failures
    out.print(_table(verdict))
    for text in result.left_out:
        out.print(f"  [dim]not done here: {text}[/dim]")
    for name, found in failures.items():
        out.print(f"\n  [red]{name}[/red] ({len(found)})")
        for each in found[:SHOWN]:
            out.print(f"    {each}", markup=False)
    word = "[red]FAIL[/red]" if failures else "[green]PASS[/green]"
    out.print(f"\n{word}  seed {plan.seed}")
    return not failures


def _table(verdict: Verdict) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    faults = ", ".join(f"{name} {count}" for name, count in sorted(verdict.faults.items()))
    rows: dict[str, object] = {
        "events accepted": verdict.accepted,
        "deliveries made": verdict.delivered,
        "lost": len(verdict.lost),
        "stuck": len(verdict.stuck),
        "duplicates": verdict.duplicates,
        "  of them explained by a fault": verdict.duplicates - len(verdict.unexplained),
        "  of them unexplained": len(verdict.unexplained),
        "in flight at faults": verdict.in_flight,
        "requests not in the log": verdict.unlogged,
        "  unexplained": len(verdict.unexplained_unlogged),
        "requests sent again at once": verdict.repeated,
        "answers that came too late": verdict.late,
        "answers that nobody gave": len(verdict.unseen),
        "changes of a webhook accepted": verdict.changes,
        "changes lost": len(verdict.changes_lost),
        "longest from acceptance to delivery": f"{verdict.longest:.1f} s",
        "faults": sum(verdict.faults.values()),
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    table.caption = faults
    return table


def print_step(text: str) -> None:
    out.print(f"  {text}")


def print_waited(waited: Waited) -> bool:
    """Print what was measured beside what it should be; say whether it is."""
    table = Table(box=None, padding=(0, 2))
    for column in ("", "measured", "limit"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("runs that went on, of those that waited", f"{waited.fired} of {waited.runs}", "all")
    for name, memory in waited.memory.items():
        limit = API_LIMIT if name == "api" else WORKER_LIMIT
        with_children = f" ({memory.whole:.0f} with its children)" if memory.whole > memory.own else ""
        table.add_row(f"resident memory of {name}{with_children}", f"{memory.own:.0f} MB", f"{limit:.0f} MB")
    table.add_row("everything ready again after", f"{waited.restart:.1f} s", "")
    for name, seconds in (("median", waited.quantile(0.5)), ("latest", waited.quantile(1.0))):
        table.add_row(f"lateness, {name}", f"{seconds:.2f} s", "")
    table.add_row("lateness, 99 of 100", f"{waited.quantile(0.99):.2f} s", f"{LATENESS_LIMIT:g} s")
    out.print(table)
    out.print("\n[green]PASS[/green]" if waited.passed else "\n[red]FAIL[/red]")
    return waited.passed


def print_ordered(seen: Ordered) -> bool:
    """Print what was seen; say whether it was in order."""
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    rows: dict[str, object] = {
        "events accepted": len(seen.accepted),
        "workers killed": seen.kills,
        "requests": len(seen.requests),
        "  of them refused by the receiver": seen.failed,
        "  of them for what had been delivered": seen.repeated,
        "in order, after dropping those": "yes" if seen.received == seen.accepted else "no",
        "events not succeeded": seen.open,
        "from the first post to the last delivery": f"{seen.seconds:.1f} s",
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    out.print(table)
    out.print("\n[green]PASS[/green]" if seen.passed else "\n[red]FAIL[/red]")
    return seen.passed


def print_neighbour(seen: Neighbour) -> bool:
    """Print what the quiet tenant noticed of the hostile one; say whether that is little enough."""
    attacks = Table(box=None, padding=(0, 2))
    for column in ("attack", "what the hostile tenant was answered"):
        attacks.add_column(column)
    for name, answers in sorted(seen.answers.items()):
        words = {"0": "no answer", **{status: status for status in answers if status != "0"}}
        attacks.add_row(name, ", ".join(f"{words[status]} × {count}" for status, count in sorted(answers.items())))
    out.print(attacks)
    table = Table(box=None, padding=(0, 2))
    for column in ("", "alone", "beside", "limit"):
        table.add_column(column, justify="right" if column else "left")
    rows: dict[str, tuple[Callable[[Observed], str], str]] = {
        "events posted": (lambda each: str(len(each.posted)), ""),
        "events refused": (lambda each: str(len(each.refused)), "0"),
        "POST to receiver, p50": (lambda each: _seconds(quantile(each.lateness, 0.5)), ""),
        "POST to receiver, p95": (lambda each: _seconds(quantile(each.lateness, 0.95)), _limit(P95_LIMIT, seen)),
        "POST to receiver, latest": (lambda each: _seconds(quantile(each.lateness, 1)), _limit(LATEST_LIMIT, seen)),
        "/healthz, slowest": (lambda each: _seconds(quantile(each.health, 1)), _limit(HEALTH_LIMIT, seen)),
    }
    for name, (show, limit) in rows.items():
        table.add_row(name, show(seen.alone), show(seen.beside), limit)
    for name, megabytes in seen.memory.items():
        table.add_row(f"memory of {name}, most", "", f"{megabytes:.0f} MB", f"{MEMORY_LIMIT:.0f} MB")
    table.add_row("deliveries with one attempt", "", str(seen.attempts.count(1)), str(len(seen.attempts)))
    table.add_row("health of its webhook", "", seen.health, "healthy")
    out.print(table)
    for refusal in seen.beside.refused[:SHOWN]:
        out.print(f"    {refusal}", markup=False)
    for failure in seen.failures:
        out.print(f"  [red]{failure}[/red]")
    out.print("\n[red]FAIL[/red]" if seen.failures else "\n[green]PASS[/green]")
    return not seen.failures


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value < float("inf") else "never"


def _limit(seconds: float, seen: Neighbour) -> str:
    return f"{seconds * seen.factor:g} s"
