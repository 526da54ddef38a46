"""Check cron expressions and names of time zones. Pure.

Temporal accepts more than the cron of Unix: seconds, years, a time zone, a comment. Schedules have other fields for
what is useful of that.
"""

import re
from functools import cache
from zoneinfo import available_timezones

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(MONTHS, start=1)}),
    ("day of the week", 0, 7, {name: number for number, name in enumerate(DAYS)}),
)
"""Name, smallest and greatest number, and names of numbers."""
SHORT = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]+))?", re.ASCII)
NOT_ZONES = frozenset({"Factory", "localtime", "posixrules"})
"""Names in the database that are not time zones."""


def check_cron(text: str) -> str:
    """Return the expression; raise ValueError with what is wrong with it."""
    if text in SHORT:
        return text
    fields = text.split(" ")
    if len(fields) != len(FIELDS):
        raise ValueError(
            "must be five fields, each after one space, such as `0 9 * * 1-5`, or one of " + ", ".join(SHORT)
        )
    for field, (name, least, most, names) in zip(fields, FIELDS, strict=True):
        for part in field.split(","):
            if not _is_part(part, least, most, names):
                raise ValueError(f"the {name} {part!r} is neither *, nor a number or a range from {least} to {most}")
    return text


def check_timezone(name: str) -> str:
    """Return the name; raise ValueError if there is no such zone."""
    if name not in _timezones():
        raise ValueError("is not a time zone of the IANA database, such as Europe/Berlin")
    return name


def _is_part(part: str, least: int, most: int, names: dict[str, int]) -> bool:
    match = PART.fullmatch(part)
    if match is None or (match["step"] is not None and not 1 <= int(match["step"][:3]) <= most):
        return False
    if match["first"] is None:
        return True
    first, last = _number(match["first"], names), _number(match["last"] or match["first"], names)
    return first is not None and last is not None and least <= first <= last <= most


def _number(text: str, names: dict[str, int]) -> int | None:
    return int(text[:3]) if text.isdecimal() else names.get(text.lower())


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones()) - NOT_ZONES
