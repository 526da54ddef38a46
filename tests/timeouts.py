"""How long tests wait, what a busy machine adds to a time, and a clock that tests set."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

WAIT_TIMEOUT = 60.0
"""Seconds. As long as a machine may take that has much else to do: nothing is proved by waiting less."""
CALL_TIMEOUT = 20.0
"""Seconds within which a call ends that has a limit of a few seconds: far more than a busy machine adds, and less than
what libraries wait for by default."""


FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.25
"""Seconds between two looks at what a test waits for. Each look costs several processes some milliseconds."""


async def pauses() -> AsyncIterator[None]:
    """Look again after each pause: soon at first, then less and less often. Without end."""
    pause = FIRST_PAUSE
    while True:
        yield
        await asyncio.sleep(pause)
        pause = min(1.4 * pause, LONGEST_PAUSE)


async def within_a_minute(seconds: float = 15.0) -> None:
    """Wait for the next minute of the clock unless this one lasts for so long: where it ends, a rate's sliding window
    lets one more pass.
    """
    if (left := 60 - time.time() % 60) < seconds:
        await asyncio.sleep(left)


@dataclass
class Lateness:
    """Seconds by which this event loop has been late in all, since the machine or the test process was busy."""

    seconds: float = 0.0

    async def measure(self, every: float = 0.05) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + every
            await asyncio.sleep(every)
            self.seconds += clock() - due


class FakeClock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FutureClock:
    """The time of Hookkeeper's code in this process, but for Temporal's and the event loop's: tests set it forward."""

    def __init__(self) -> None:
        self.ahead = 0.0
        """Seconds."""

    def passes(self, seconds: float) -> None:
        """Let this much time pass at once."""
        self.ahead += seconds

    def now(self, zone: tzinfo | None = None) -> datetime:
        return datetime.now(zone) + timedelta(seconds=self.ahead)

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@asynccontextmanager
async def lateness() -> AsyncIterator[Lateness]:
    """Measure it for as long as the block."""
    late = Lateness()
    measuring = asyncio.create_task(late.measure())
    try:
        yield late
    finally:
        measuring.cancel()
