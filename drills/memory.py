"""How much memory a process takes."""

import asyncio
import subprocess
from typing import NamedTuple


class Memory(NamedTuple):
    """Resident megabytes: of the process itself, and of it with all that it has started."""

    own: float
    whole: float


async def memory_of(pid: int) -> Memory:
    """Ask `ps`, which Linux and macOS have."""
    listed = await asyncio.create_subprocess_exec("ps", "-axo", "pid=,ppid=,rss=", stdout=subprocess.PIPE)
    out, _ = await listed.communicate()
    rows = [tuple(map(int, line.split())) for line in out.decode().splitlines()]
    return Memory(
        own=sum(rss for each, _, rss in rows if each == pid) / 1024,
        whole=sum(rss for each, parent, rss in rows if pid in (each, parent)) / 1024,
    )
