"""Texts that people read and write. They need no package."""

import re
from collections.abc import Sequence

UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
DURATION = re.compile(r"(\d{1,8}(?:\.\d{1,6})?)([smhd]?)", re.ASCII)
MAX_DURATIONS = 100
NEVER = "never"


def N_(text: str) -> str:  # noqa: N802 — the name that tools know
    """Mark a text of a Python module for translators; the page that shows it translates it."""
    return text


def duration(seconds: float) -> str:
    """Format a duration in its largest fitting unit: `5 s`, `2.5 min`, `14 h`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def read_durations(text: str) -> list[float]:
    """Read `5s, 5m, 2h` as seconds; a number without a unit is seconds, and `never` none at all. Raises ValueError."""
    if text.strip() == NEVER:
        return []
    parts = text.replace(",", " ").split()
    found = [DURATION.fullmatch(part) for part in parts[:MAX_DURATIONS]]
    if len(parts) > MAX_DURATIONS or not all(found):
        raise ValueError("must be durations such as 5s, 5m, 2h")
    seconds = [float(match[1]) * UNITS[match[2] or "s"] for match in found if match]
    return [int(each) if each.is_integer() else each for each in seconds]


def write_durations(seconds: Sequence[float]) -> str:
    """Write what `read_durations` reads, each in the largest unit without a fraction."""
    return ", ".join(map(_written, seconds)) or NEVER


def _written(seconds: float) -> str:
    unit, size = next(
        ((unit, size) for unit, size in UNITS.items() if seconds >= size and seconds % size == 0), ("s", 1)
    )
    return f"{seconds / size:.12g}{unit}"
