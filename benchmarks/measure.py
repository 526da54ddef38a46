"""CPU time and memory of processes with their children, from `/proc`."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
IDLE_WINDOW = 0.5
IDLE_SHARE = 0.2
"""Processes are idle while they use less than this part of a core."""
MAX_SETTLE_TIME = 10.0
Pids = Mapping[str, int]
"""Processes by name."""


class _Stat(NamedTuple):
    parent: int
    seconds: float
    """CPU time, with that of its children that have ended."""


def cpu_seconds(pids: Pids) -> dict[str, float]:
    """Return the CPU time of each process and its descendants, without those that are named themselves."""
    stats = _read_stats()
    trees = _trees(pids, stats)
    return {name: sum(stats[pid].seconds for pid in tree) for name, tree in trees.items()}


def memory_mb(pids: Pids) -> dict[str, float]:
    """Return the proportional memory (PSS) of each process and its descendants, as `cpu_seconds` does, in MB."""
    trees = _trees(pids, _read_stats())
    return {name: sum(_pss_kb(pid) for pid in tree) / 1024 for name, tree in trees.items()}


async def settle(pids: Callable[[], Pids]) -> None:
    """Wait until the processes are idle, so that what they do after the last delivery is counted; at most 10 s."""
    deadline = time.monotonic() + MAX_SETTLE_TIME
    before = sum(cpu_seconds(pids()).values())
    while time.monotonic() < deadline:
        await asyncio.sleep(IDLE_WINDOW)
        now = sum(cpu_seconds(pids()).values())
        if now - before < IDLE_SHARE * IDLE_WINDOW:
            return
        before = now


def _read_stats() -> dict[int, _Stat]:
    stats = {}
    for folder in PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it has ended
                stats[int(folder.name)] = _parse((folder / "stat").read_text())
    return stats


def _parse(text: str) -> _Stat:
    """Parse `/proc/<pid>/stat`: after the name in parentheses come state, parent …, see proc(5)."""
    fields = text.rpartition(")")[2].split()
    return _Stat(parent=int(fields[1]), seconds=sum(map(int, fields[11:15])) / TICKS)


def _trees(pids: Pids, stats: Mapping[int, _Stat]) -> dict[str, list[int]]:
    return {name: _tree(root, stats, set(pids.values()) - {root}) for name, root in pids.items()}


def _tree(root: int, stats: Mapping[int, _Stat], others: Container[int] = ()) -> list[int]:
    """Return a process and its descendants, without the trees of others."""
    children = defaultdict(list)
    for pid, stat in stats.items():
        if pid not in others:
            children[stat.parent].append(pid)
    found = [root] if root in stats else []
    for pid in found:
        found += children[pid]
    return found


def _pss_kb(pid: int) -> int:
    with suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
