"""What checks find, and how they run: all at once, each in limited time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

CHECK_TIMEOUT = 8.0
"""Seconds for one check."""
MAX_AGE = 10.0
"""Seconds for which a report is shown, however many ask for it."""
CLOCK_TOLERANCE, CLOCK_LIMIT = timedelta(seconds=5), timedelta(minutes=1)
"""Differences of clocks: above the first one there is a warning, above the second one something is wrong."""
EXPIRES_SOON = timedelta(days=21)
"""The time until the end of a certificate, below which there is a warning."""

Level = Literal["well", "warning", "wrong"]
LEVELS: tuple[Level, ...] = ("well", "warning", "wrong")


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about one thing that was checked."""

    level: Level
    text: str
    remedy: str = ""
    """A command, or the setting to correct."""
    check: str = ""
    """The check that has found it."""


Check = Callable[[], Awaitable[Sequence[Finding]]]


def well(text: str) -> list[Finding]:
    return [Finding("well", text)]


def warning(text: str, remedy: str = "") -> list[Finding]:
    return [Finding("warning", text, remedy)]


def wrong(text: str, remedy: str = "") -> list[Finding]:
    return [Finding("wrong", text, remedy)]


async def run_checks(checks: Mapping[str, Check], seconds: float = CHECK_TIMEOUT) -> list[Finding]:
    """Run all checks at once; return what they find, in their order. Raises nothing."""
    found = await asyncio.gather(*(_run(name, check, seconds) for name, check in checks.items()))
    return [finding for each in found for finding in each]


async def _run(name: str, check: Check, seconds: float) -> list[Finding]:
    try:
        async with asyncio.timeout(seconds):
            found: Sequence[Finding] = await check()
    except TimeoutError:
        found = wrong(f"no answer within {seconds:g} s")
    except Exception as error:  # noqa: BLE001 (a check that fails must not hide what the others find)
        found = wrong(f"the check failed: {str(error) or type(error).__name__}")
    return [finding if finding.check else replace(finding, check=name) for finding in found]


class LatestReport:
    """One examination for all that ask at about the same time."""

    def __init__(self, examine: Callable[[], Awaitable[list[Finding]]]) -> None:
        self._examine = examine
        self._findings: list[Finding] = []
        self._until = float("-inf")
        self._examining = asyncio.Lock()

    async def read(self) -> list[Finding]:
        """Return findings that are not older than `MAX_AGE`."""
        async with self._examining:
            if time.monotonic() >= self._until:
                self._findings = await self._examine()
                self._until = time.monotonic() + MAX_AGE
            return self._findings


def worst(findings: Iterable[Finding]) -> Level:
    """Return the most serious level."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="well")


def judge_clock(whose: str, ahead: timedelta) -> list[Finding]:
    """Judge how far the clock of another machine is ahead of this one's."""
    seconds = ahead.total_seconds()
    if abs(ahead) <= CLOCK_TOLERANCE:
        return well(f"that of {whose} and this machine's differ by {abs(seconds):.1f} s")
    text = f"that of {whose} is {abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    remedy = "compare both with NTP, such as `chronyc tracking` or `timedatectl`, and set the wrong one"
    return wrong(text, remedy) if abs(ahead) > CLOCK_LIMIT else warning(text, remedy)


def judge_end(what: str, end: datetime, now: datetime) -> list[Finding]:
    """Judge the end of a certificate."""
    if end <= now:
        return wrong(f"{what} expired on {end:%Y-%m-%d}", "renew it")
    text = f"{what} is valid until {end:%Y-%m-%d}"
    if end - now < EXPIRES_SOON:
        return warning(f"{text}, {(end - now).days} days from now", "renew it")
    return well(text)
