"""`hookkeeper stats`, and `hookkeeper top`: rates, queues and failing webhooks, live."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.client.api import Api, ApiUnavailable, TooMuch
from cli.client.options import AsJson, age_of, time_of
from cli.console import Failed, Json, out, print_columns, print_json_or, print_table

BLOCKS = "▁▂▃▄▅▆▇█"
STEPS = (60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400)
MAX_STEPS = 31
"""Characters of a sparkline, if no step is given."""
OLDEST_OF_MINUTES = 2 * 86_400
"""Seconds. Before this age, the API has no steps below an hour."""
HEADER = (
    "Events",
    "Succeeded",
    "Failed",
    "Success",
    "Attempts",
    "Error rate",
    "Retries",
    "p50",
    "p95",
    "p99",
    "Held",
    "Retrying",
)
NAMES = {"tenant": ("tenant",), "webhook": ("name", "webhook_id", "tenant"), "channel": ("channel",), "type": ("type",)}
RATES_PERIOD = timedelta(minutes=30)
WEBHOOKS_PERIOD = timedelta(hours=1)
MINUTE = 60
"""Seconds of a character of a sparkline of `top`."""
MAX_WEBHOOKS = 10


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
    api = Api.of_environment()
    found = api.call(
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
    print_json_or(as_json, found, lambda _: print_statistics(found, api.webhook_name))


def print_statistics(found: Json, name_of: Callable[[str], str]) -> None:
    """Print one group in lines, and several as a table."""
    out.print(f"[dim]{escape(found['since'])} to {escape(found['until'])}[/dim]")
    if found["by"] == "total":
        _print_total(found["items"][0])
    else:
        groups = _named(found["items"], name_of) if found["by"] == "webhook" else found["items"]
        _print_groups(NAMES[found["by"]], groups)
    if found["waiting_capped"]:
        out.print("[yellow]More deliveries are held or retrying than were counted.[/yellow]")


def _named(groups: Sequence[Json], name_of: Callable[[str], str]) -> list[Json]:
    """Add the names of webhooks to their groups."""
    return [group | {"name": name_of(group["webhook_id"])} for group in groups]


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
        percent(group["success_rate"]),
        _number(group["attempts"]),
        percent(group["error_rate"], up=True),
        _number(group["retries"]),
        *("-" if milliseconds is None else f"{milliseconds:.0f} ms" for milliseconds in latency.values()),
        _number(group["held"]),
        _number(group["retrying"]),
    ]


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def percent(share: float | None, *, up: bool = False) -> str:
    """Write a share with two decimals, rounded down: 100.00% means all; or rounded up: 0.00% means none."""
    return "-" if share is None else f"{(ceil if up else floor)(round(share * 10_000, 6)) / 100:.2f}%"


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


# `hookkeeper top`


@dataclass(frozen=True, slots=True)
class Readings:
    """What one frame shows."""

    total: Json | None
    """Statistics of the last half hour, by minute; None if there are too many counters to add up."""
    webhooks: Sequence[Json] | None
    """Statistics of the last hour of the webhooks with the most failed attempts, and their names; None if there are too
    many webhooks."""
    system: Json | None
    """The state of the installation; None for a key that may not read it."""


def run_top(api: Api, tenant: str | None, interval: float, *, once: bool) -> None:
    """Show a frame every `interval` seconds until Ctrl-C, or one frame; one also if the output is no terminal."""
    from rich.live import Live

    readings = read(api, tenant)
    if once or not out.is_terminal:
        out.print(frame(readings, api.url))
        return
    try:
        with Live(frame(readings, api.url), console=out, auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(interval)
                trouble = ""
                try:
                    readings = read(api, tenant)
                except ApiUnavailable as error:
                    trouble = str(error)
                live.update(frame(readings, api.url, trouble), refresh=True)
    except KeyboardInterrupt:
        return


def read(api: Api, tenant: str | None) -> Readings:
    """Read what a frame shows. Raises `Failed`."""
    now = datetime.now(UTC)
    begin = (now - RATES_PERIOD).isoformat()
    since = (now - WEBHOOKS_PERIOD).isoformat()
    return Readings(
        total=_total(api, begin, tenant),
        webhooks=_if_possible(
            lambda: _named(
                _failing(api.call("GET", "stats", by="webhook", order="failures", since=since, tenant=tenant)["items"]),
                api.webhook_name,
            )
        ),
        system=_if_possible(lambda: api.call("GET", "system")) if tenant is None else None,
    )


def _total(api: Api, since: str, tenant: str | None) -> Json | None:
    """Return what is counted in all, or None."""
    try:
        total: Json = api.call("GET", "stats", since=since, step=MINUTE, tenant=tenant)["items"][0]
    except TooMuch:
        return None
    return total


def _if_possible(read: Callable[[], Any]) -> Any:
    """Return the answer; None if the API refuses the request."""
    try:
        return read()
    except ApiUnavailable:
        raise
    except Failed:
        return None


def frame(readings: Readings, url: str, trouble: str = "") -> RenderableType:
    """Draw the readings."""
    title = Text.assemble(("Hookkeeper", "bold"), f"  {url}  ", (f"{datetime.now(UTC):%H:%M:%S} UTC", "dim"))
    parts: list[RenderableType] = [title, Text(trouble, "red"), _rates(readings.total)]
    if readings.system is not None:
        parts += [Text(), _system(readings.system)]
    return Group(*parts, Text(), _webhooks(readings.webhooks))


def _grid(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, "dim"), Text.from_markup(value))
    return table


def _rates(total: Json | None) -> RenderableType:
    if total is None:
        return Text("There are too many counters to add up rates: use --tenant.", "yellow")
    steps = total["steps"]
    latest = steps[-2] if len(steps) > 1 else steps[-1]  # the last one is not over
    latency = total["latency"]
    failed = [step["attempts"] - step["outcomes"]["succeeded"] for step in steps]
    rate = total["success_rate"]
    return _grid(
        [
            ("Events", f"{latest['events'] / MINUTE:8.1f}/s  {sparkline([step['events'] for step in steps])}"),
            (
                "Attempts",
                f"{latest['attempts'] / MINUTE:8.1f}/s  {sparkline([step['attempts'] for step in steps])}",
            ),
            ("Failed attempts", f"{_failed(latest) / MINUTE:8.1f}/s  [red]{sparkline(failed)}[/red]"),
            ("Success", "-" if rate is None else f"{rate:8.2%}  of deliveries in 30 minutes"),
            (
                "Latency",
                "-"
                if latency is None
                else f"{latency['p50']:8.0f} ms p50, {latency['p95']:.0f} ms p95, {latency['p99']:.0f} ms p99",
            ),
            ("Held, retrying", f"{total['held']:8,}, {total['retrying']:,}"),
        ]
    )


def _failed(counts: Json) -> int:
    failed: int = counts["attempts"] - counts["outcomes"]["succeeded"]
    return failed


def _system(system: Json) -> Table:
    deliveries, webhooks, backlog = system["deliveries"], system["webhooks"], system["backlog"]
    return _grid(
        [
            (
                "Oldest pending",
                "[red]the registry is unavailable[/red]" if deliveries is None else _age(deliveries["oldest_pending"]),
            ),
            ("Queues", "[red]Temporal is unavailable[/red]" if backlog is None else _counts(backlog)),
            ("Webhooks", "[red]the registry is unavailable[/red]" if webhooks is None else _counts(webhooks)),
        ]
    )


def _age(seconds: float) -> str:
    return "none" if not seconds else f"{timedelta(seconds=round(seconds))}"


def _counts(counts: Json) -> str:
    return "   ".join(f"{name} [bold]{count:,}[/bold]" for name, count in counts.items())


def _failing(groups: Sequence[Json]) -> list[Json]:
    """Return the webhooks with the most failed attempts."""
    return sorted((group for group in groups if _failed(group)), key=_failed, reverse=True)[:MAX_WEBHOOKS]


def _webhooks(groups: Sequence[Json] | None) -> RenderableType:
    """Draw the webhooks with the most failed attempts."""
    if groups is None:
        return Text("There are too many webhooks to list those that fail: use --tenant.", "yellow")
    if not groups:
        return Text("No webhook has failed in the last hour.", "green")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("Failing webhooks", "Webhook", "Tenant"):
        table.add_column(name, no_wrap=name == "Webhook")  # an id that is cut off cannot be copied
    for name in ("Failed", "Attempts", "Error rate", "Success", "p95", "Held", "Retrying"):
        table.add_column(name, justify="right")
    for group in groups:
        rate, latency = group["success_rate"], group["latency"]
        table.add_row(
            escape(group["name"]),
            escape(group["webhook_id"]),
            escape(group["tenant"]),
            f"[red]{_failed(group):,}[/red]",
            f"{group['attempts']:,}",
            percent(group["error_rate"], up=True),
            "-" if rate is None else f"{rate:.1%}",
            "-" if latency is None else f"{latency['p95']:.0f} ms",
            f"{group['held']:,}",
            f"{group['retrying']:,}",
        )
    return table
