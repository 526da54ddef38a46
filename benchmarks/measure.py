"""CPU time and memory of processes with their children."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import psutil  # type: ignore[import-untyped]

IDLE_WINDOW = 0.5
IDLE_SHARE = 0.2
"""Processes are idle while they use less than this part of a core."""
MAX_SETTLE_TIME = 10.0
Pids = Mapping[str, int]
"""Processes by name."""


def cpu_seconds(pids: Pids) -> dict[str, float]:
    """Return the CPU time of each process and its descendants, also of those that have ended."""
    return {name: sum(sum(times[:4]) for times in _of_tree(pid, "cpu_times")) for name, pid in pids.items()}


def memory_mb(pids: Pids) -> dict[str, float]:
    """Return the proportional memory (PSS) of each process and its descendants, in MB."""
    return {name: sum(used.pss for used in _of_tree(pid, "memory_full_info")) / 2**20 for name, pid in pids.items()}


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


def _of_tree(root: int, measured: str) -> Iterator[Any]:
    """Yield what psutil measures of a process and each of its descendants, unless it has ended."""
    with suppress(psutil.Error):
        process = psutil.Process(root)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                yield getattr(each, measured)()
