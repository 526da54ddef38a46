"""Carries a schedule of faults out, and writes down when each began and when its process was itself again."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from signal import SIGCONT, SIGKILL, SIGSTOP

from drills.clocks import NOTICED
from drills.cluster import Cluster
from drills.disk import SmallDisk
from drills.observations import Window
from drills.schedule import TARGETS, Fault

REFILL = 0.25
"""A database that is short of room removes what it can: the disk is filled up again so often (seconds)."""


@dataclass
class Faults:
    """Does harm to a house."""

    house: Cluster
    disk: SmallDisk | None
    tell: Callable[[float, str], None] = lambda at, text: None
    windows: list[Window] = field(default_factory=list)

    async def carry_out(self, schedule: Sequence[Fault]) -> None:
        """Do each when it is due, whatever else is going on; return when the last is over and cured."""
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(self._in_time(each, begun) for each in schedule))

    async def _in_time(self, fault: Fault, begun: float) -> None:
        await asyncio.sleep(begun + fault.at - asyncio.get_running_loop().time())
        began = time.time()
        if not await self._do(fault):
            self.tell(fault.at, f"{fault.kind} {fault.target}: it is down as it is")
            return
        ended = time.time()
        self.windows.append(Window(fault.kind, fault.target, began, ended, fault.step))
        step = f" {fault.step:+g} s" if fault.step else ""
        self.tell(fault.at, f"{fault.kind} {fault.target}{step}, itself again after {ended - began:.1f} s")

    async def _do(self, fault: Fault) -> bool:
        """Return when the fault is over; False where there was nothing to harm."""
        match fault.kind:
            case "kill":
                return await self._kill(fault.target)
            case "kill everything":
                return any(await asyncio.gather(*(self._kill(name) for name in TARGETS)))
            case "stop":
                return await self._stop(fault.target, fault.seconds)
            case "disk full":
                return await self._fill_disk(fault.target, fault.seconds)
            case "clock":
                return await self._set_clock(fault.target, fault.step, fault.seconds)

    async def _kill(self, name: str) -> bool:
        killed = self.house.signal(name, SIGKILL)
        if killed is None:
            return False
        await self.house.until_again(name, killed)
        return True

    async def _stop(self, name: str, seconds: float) -> bool:
        stopped = self.house.signal(name, SIGSTOP)
        if stopped is None:
            return False
        await asyncio.sleep(seconds)
        self.house.signal(name, SIGCONT, stopped)  # unless it was killed meanwhile
        return True

    async def _set_clock(self, name: str, step: float, seconds: float) -> bool:
        if self.house.clocks is None:
            return False
        self.house.clocks.set(name, step)
        await asyncio.sleep(seconds)
        self.house.clocks.set(name, 0.0)
        await asyncio.sleep(NOTICED)
        return True

    async def _fill_disk(self, name: str, seconds: float) -> bool:
        if self.disk is None:
            return False
        for _ in range(int(seconds / REFILL)):
            await asyncio.to_thread(self.disk.fill)
            await asyncio.sleep(REFILL)
        self.disk.free()
        await self.house.until_again(name)
        return True
