"""Injects the faults of a schedule, and records when each began and when its process was ready again."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from signal import SIGCONT, SIGKILL, SIGQUIT, SIGSTOP, Signals

from drills.clocks import CLOCK_DELAY
from drills.cluster import Cluster
from drills.disk import SmallDisk
from drills.observations import Window
from drills.schedule import Fault

FILL_INTERVAL = 0.25
"""Seconds after which the disk is filled again: a database without space removes files."""


@dataclass
class FaultInjector:
    """Injects faults into the processes of a cluster."""

    cluster: Cluster
    disk: SmallDisk | None
    on_fault: Callable[[float, str], None] = lambda at, text: None
    windows: list[Window] = field(default_factory=list)

    async def inject(self, schedule: Sequence[Fault]) -> None:
        """Inject each fault at its time, also while others last; return when all are over."""
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(self._inject_at_its_time(fault, began) for fault in schedule))

    async def _inject_at_its_time(self, fault: Fault, schedule_began: float) -> None:
        await asyncio.sleep(schedule_began + fault.at - asyncio.get_running_loop().time())
        began = time.time()
        if not await self._inject(fault):
            self.on_fault(fault.at, f"{fault.kind} {fault.target}: it is already down")
            return
        ended = time.time()
        self.windows.append(Window(fault.kind, fault.target, began, ended, fault.step))
        step = f" {fault.step:+g} s" if fault.step else ""
        self.on_fault(fault.at, f"{fault.kind} {fault.target}{step}, ready again after {ended - began:.1f} s")

    async def _inject(self, fault: Fault) -> bool:
        """Return when the fault is over; False if it could not be injected."""
        match fault.kind:
            case "kill":
                return await self._kill(fault.target)
            case "kill everything":
                return any(await asyncio.gather(*(self._kill(name) for name in self.cluster.shape.targets)))
            case "immediate stop":  # as `pg_ctl stop -m immediate`: the server aborts without a checkpoint
                return await self._kill(fault.target, SIGQUIT)
            case "read-only":
                return await self._make_read_only(fault.target, fault.seconds)
            case "stop":
                return await self._stop(fault.target, fault.seconds)
            case "disk full":
                return await self._fill_disk(fault.target, fault.seconds)
            case "clock":
                return await self._set_clock(fault.target, fault.step, fault.seconds)

    async def _kill(self, name: str, number: Signals = SIGKILL) -> bool:
        killed = self.cluster.signal(name, number)
        if killed is None:
            return False
        await self.cluster.until_ready(name, killed)
        return True

    async def _stop(self, name: str, seconds: float) -> bool:
        stopped = self.cluster.signal(name, SIGSTOP)
        if stopped is None:
            return False
        await asyncio.sleep(seconds)
        self.cluster.signal(name, SIGCONT, stopped)  # unless it was killed in the meantime
        return True

    async def _set_clock(self, name: str, step: float, seconds: float) -> bool:
        assert self.cluster.clocks
        self.cluster.clocks.set(name, step)
        await asyncio.sleep(seconds)
        self.cluster.clocks.set(name, 0.0)
        await asyncio.sleep(CLOCK_DELAY)
        return True

    async def _make_read_only(self, name: str, seconds: float) -> bool:
        await self.cluster.until_ready(name)
        await self.cluster.database.set_read_only(True)
        await asyncio.sleep(seconds)
        await self.cluster.until_ready(name)  # unless it was killed in the meantime
        await self.cluster.database.set_read_only(False)
        return True

    async def _fill_disk(self, name: str, seconds: float) -> bool:
        assert self.disk
        for _ in range(int(seconds / FILL_INTERVAL)):
            await asyncio.to_thread(self.disk.fill)
            await asyncio.sleep(FILL_INTERVAL)
        self.disk.free()
        await self.cluster.until_ready(name)
        return True
