"""`hookkeeper top`: rates, queues and failing webhooks, live."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hookkeeper.cli.client import Api, ApiUnavailable, TooMuch
from hookkeeper.cli.console import Failed, Json, out
from hookkeeper.cli.stats import sparkline

RATES_PERIOD = timedelta(minutes=30)
WEBHOOKS_PERIOD = timedelta(hours=1)
STEP = 60
"""Seconds of a character of a sparkline."""
MAX_WEBHOOKS = 10


@dataclass(frozen=True, slots=True)
class Readings:
    """What one frame shows."""

    total: Json | None
    """Statistics of the last half hour, by minute; None if there are too many counters to add up."""
    webhooks: Sequence[Json] | None
    """Statistics of the last hour by webhook; None if there are too many webhooks."""
    system: Json | None
    """The state of the installation; None for a key that may not read it."""


def run_top(api: Api, tenant: str | None, interval: float, *, once: bool) -> None:
    """Show a frame every `interval` seconds until Ctrl-C, or one frame; one also if the output is no terminal."""
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
            lambda: api.call("GET", "stats", by="webhook", order="failures", since=since, tenant=tenant)["items"]
        ),
        system=_if_possible(lambda: api.call("GET", "system")) if tenant is None else None,
    )


def _total(api: Api, since: str, tenant: str | None) -> Json | None:
    """Return what is counted in all, or None."""
    try:
        total: Json = api.call("GET", "stats", since=since, step=STEP, tenant=tenant)["items"][0]
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
            ("Events", f"{latest['events'] / STEP:8.1f}/s  {sparkline([step['events'] for step in steps])}"),
            ("Attempts", f"{latest['attempts'] / STEP:8.1f}/s  {sparkline([step['attempts'] for step in steps])}"),
            ("Failed attempts", f"{_failed(latest) / STEP:8.1f}/s  [red]{sparkline(failed)}[/red]"),
            ("Success", "-" if rate is None else f"{rate:8.2%}  of the deliveries finished in 30 minutes"),
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
    return "   ".join(f"{name.replace('_', ' ')} [bold]{count:,}[/bold]" for name, count in counts.items())


def _webhooks(groups: Sequence[Json] | None) -> RenderableType:
    """Draw the webhooks with the most failed attempts."""
    if groups is None:
        return Text("There are too many webhooks to list those that fail: use --tenant.", "yellow")
    failing = sorted((group for group in groups if _failed(group)), key=_failed, reverse=True)[:MAX_WEBHOOKS]
    if not failing:
        return Text("No webhook has failed in the last hour.", "green")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("Failing webhooks", "Tenant"):
        table.add_column(name)
    for name in ("Failed", "Attempts", "Success", "p95", "Held", "Retrying"):
        table.add_column(name, justify="right")
    for group in failing:
        rate, latency = group["success_rate"], group["latency"]
        table.add_row(
            escape(group["webhook_id"]),
            escape(group["tenant"]),
            f"[red]{_failed(group):,}[/red]",
            f"{group['attempts']:,}",
            "-" if rate is None else f"{rate:.1%}",
            "-" if latency is None else f"{latency['p95']:.0f} ms",
            f"{group['held']:,}",
            f"{group['retrying']:,}",
        )
    return table
