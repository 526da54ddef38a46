"""Times of several calls, in a table."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping

from benchmarks.stream import percentile
from cli.console import Failed, out

PAUSE = 0.01
Call = Callable[[], Awaitable[object]]


async def time_in_turn(calls: Mapping[str, Call], repeats: int) -> None:
    """Time each call this many times, all in turn, so that other load affects all of them; print a table.

    A call that raises `Failed` is not timed; the table has the number of these, and the last reason.
    """
    spent: dict[str, list[float]] = defaultdict(list)
    failures: dict[str, list[Failed]] = defaultdict(list)
    for _ in range(repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            try:
                await call()
            except Failed as failure:
                failures[name].append(failure)
            else:
                spent[name].append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE)
    out.print(f"  {'[dim](ms)[/dim]':<61}     p50     p95     max")
    for name in calls:
        out.print(f"  {name:<50} {_figures(spent[name])}{_told(failures[name])}")


def _figures(seconds: list[float]) -> str:
    if not seconds:
        return f"{'–':>7} {'–':>7} {'–':>7}"
    return " ".join(f"{percentile(seconds, percent) * 1e3:7.1f}" for percent in (50, 95, 100))


def _told(failures: list[Failed]) -> str:
    return f"  [red]{len(failures)} failed: {failures[-1]}[/red]" if failures else ""
