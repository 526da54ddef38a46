"""`hookkeeper stats`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import floor
from typing import Annotated

import typer
from rich.markup import escape

from hookkeeper.cli.client import Api
from hookkeeper.cli.console import Json, out, print_columns, print_json_or, print_table
from hookkeeper.cli.options import AsJson, age_of, time_of

BLOCKS = "▁▂▃▄▅▆▇█"
STEPS = (60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400)
MAX_STEPS = 31
"""Characters of a sparkline, if no step is given."""
OLDEST_OF_MINUTES = 2 * 86_400
"""Seconds. Before this age, the API has no steps below an hour."""
HEADER = ("Events", "Succeeded", "Failed", "Success", "Attempts", "Retries", "p50", "p95", "p99", "Held", "Retrying")
NAMES = {"tenant": ("tenant",), "webhook": ("webhook_id", "tenant"), "channel": ("channel",), "type": ("type",)}


def stats(
    by: Annotated[str, typer.Option(help="What to count separately: total, tenant, webhook, channel, type.")] = "total",
    since: Annotated[str, typer.Option(help="Begin: RFC 3339, or an age such as 30m, 2h, 7d.")] = "24h",
    until: Annotated[str | None, typer.Option(help="End, in the same format. Default: now.")] = None,
    step: Annotated[
        str | None, typer.Option(help="Time of one sparkline character, such as 5m, 1h, 1d. Default: by the period.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Only deliveries of this webhook.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only events of exactly this type.")] = None,
    channel: Annotated[
        str | None, typer.Option(help="Only deliveries of this channel: webhook, email, notification.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show counts, success rates and latencies, with attempts and errors over time."""
    begin, end = time_of(since), time_of(until)
    found = Api.of_environment().call(
        "GET",
        "stats",
        by=by,
        since=begin,
        until=end,
        step=_seconds(step) if step else _step(begin, end, datetime.now(UTC)),
        tenant=tenant,
        webhook=webhook,
        type=type_,
        channel=channel,
    )
    print_json_or(as_json, found, print_statistics)


def print_statistics(found: Json) -> None:
    """Print one group in lines, and several as a table."""
    out.print(f"[dim]{escape(found['since'])} to {escape(found['until'])}[/dim]")
    if found["by"] == "total":
        _print_total(found["items"][0])
    else:
        _print_groups(NAMES[found["by"]], found["items"])
    if found["waiting_capped"]:
        out.print("[yellow]More deliveries are held or retrying than were counted.[/yellow]")


def _print_total(group: Json) -> None:
    attempts, errors = _sparklines(group)
    names = {name.lower(): value for name, value in zip(HEADER, _cells(group), strict=True)}
    print_columns([*names.items(), ("attempts over time", attempts), ("errors over time", errors)])


def _print_groups(names: Sequence[str], groups: Sequence[Json]) -> None:
    header = (*(name.removesuffix("_id").capitalize() for name in names), *HEADER, "Attempts over time", "Errors")
    rows = [[*(escape(group[name]) for name in names), *_cells(group), *_sparklines(group)] for group in groups]
    print_table(header, rows)


def _cells(group: Json) -> list[str]:
    latency = group["latency"] or {"p50": None, "p95": None, "p99": None}
    return [
        _number(group["events"]),
        _number(group["deliveries_succeeded"]),
        _number(group["deliveries_failed"]),
        _percent(group["success_rate"]),
        _number(group["attempts"]),
        _number(group["retries"]),
        *("-" if milliseconds is None else f"{milliseconds:.0f} ms" for milliseconds in latency.values()),
        _number(group["held"]),
        _number(group["retrying"]),
    ]


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _percent(share: float | None) -> str:
    """Write a share with two decimals, rounded down: 100.00% means all."""
    return "-" if share is None else f"{floor(share * 10_000) / 100:.2f}%"


def _sparklines(group: Json) -> tuple[str, str]:
    """Return the attempts and the failed attempts of each step."""
    steps = group["steps"]
    return (
        sparkline([step["attempts"] for step in steps]),
        sparkline([step["attempts"] - step["outcomes"]["succeeded"] for step in steps]),
    )


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts as blocks of a height that is relative to the largest one; zero is a space."""
    largest = max(counts, default=0)
    return "".join(BLOCKS[-(-count * len(BLOCKS) // largest) - 1] if count else " " for count in counts)


def _seconds(age: str) -> int:
    step = age_of(age)
    if step is None:
        raise typer.BadParameter("--step is a time such as 5m, 1h or 1d")
    return int(step.total_seconds())


def _step(since: str, until: str | None, now: datetime) -> int | None:
    """Return the shortest usual step that makes few steps; none if a time is invalid, so that the API refuses it."""
    try:
        begin, end = datetime.fromisoformat(since), datetime.fromisoformat(until) if until else now
        seconds = (end - begin).total_seconds()
        is_old = (now - begin).total_seconds() > OLDEST_OF_MINUTES - 60
    except (ValueError, TypeError):
        return None
    usual = [step for step in STEPS if seconds <= step * MAX_STEPS and (step >= 3600 or not is_old)]
    days = -int(-seconds // (86_400 * MAX_STEPS))
    return usual[0] if usual else max(days, 1) * 86_400
