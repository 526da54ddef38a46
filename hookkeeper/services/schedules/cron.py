"""Check cron expressions, whether they ever fire, and names of time zones. Pure.

Temporal also accepts seconds, intervals and a time zone, which could fire more often than once a minute or contradict
the schedule's other fields, so only five fields and a few names are allowed.
"""

import re
from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from functools import cache
from itertools import product
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
FIVE_FIELDS = re.compile(r"[0-9A-Za-z*,/-]+( [0-9A-Za-z*,/-]+){4}")
RANGE = re.compile(r"(?:\*|(?P<first>[0-9A-Za-z]+)(?:-(?P<last>[0-9A-Za-z]+))?)(?:/(?P<step>[0-9]{1,9}))?")
MONTHS = (
    *("", "january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
FIRST_TIME, LAST_TIME = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 12, 31, 23, 59, tzinfo=UTC)
"""Temporal knows no later times."""
NOT_ZONES = frozenset({"Factory", "localtime", "posixrules"})
"""Names in the database that are not time zones."""


class CronFields(NamedTuple):
    """The values of each field that match; 0 is Sunday."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]


def check_cron(text: str) -> str:
    """Return the expression; raise ValueError if it is none of five fields, or if its days never come.

    Temporal would refuse it too, but may be away when a schedule is made.
    """
    if text not in NAMES and not FIVE_FIELDS.fullmatch(text):
        raise ValueError(
            "must be five fields, each after one space, such as `0 9 * * 1-5`, or one of " + ", ".join(NAMES)
        )
    try:
        _parse(text)
    except ValueError:
        raise ValueError("has a field that is no list of values and ranges, or a value that is out of range") from None
    if not fires_between(text, "UTC", FIRST_TIME, LAST_TIME):
        raise ValueError("never fires: no year has such a day")
    return text


def fires_between(text: str, timezone: str, start: datetime, end: datetime) -> bool:
    """Return whether an expression that was checked fires from `start` to `end`.

    The cost is bounded: only the first and the last day have times outside of the period, and a day of a month falls on
    each day of the week within 40 years.
    """
    fields = _parse(text)
    zone = ZoneInfo(timezone)
    first, last = (when.astimezone(zone).replace(tzinfo=None) for when in (start, min(end, LAST_TIME)))
    for day in _days(fields, first, last):
        times = (time(hour, minute) for hour, minute in product(fields.hours, fields.minutes))
        if any(first <= datetime.combine(day, at) <= last for at in times):
            return True
    return False


def _days(fields: CronFields, first: datetime, last: datetime) -> Iterator[date]:
    """Return the days from `first` to `last` that match."""
    for year, month in product(range(first.year, last.year + 1), sorted(fields.months)):
        in_month = monthrange(year, month)[1]
        for day in (date(year, month, day) for day in sorted(fields.days) if day <= in_month):
            if first.date() <= day <= last.date() and day.isoweekday() % 7 in fields.weekdays:
                yield day


def _parse(text: str) -> CronFields:
    """Return the values of an expression, as Temporal reads it. Raises ValueError."""
    minutes, hours, days, months, weekdays = NAMES.get(text, text).split()
    return CronFields(
        _values(minutes, 0, 59),
        _values(hours, 0, 23),
        _values(days, 1, 31),
        _values(months, 1, 12, MONTHS, 3),
        frozenset(day % 7 for day in _values(weekdays, 0, 7, WEEKDAYS, 2)),
    )


def _values(field: str, lowest: int, highest: int, names: tuple[str, ...] = (), shortest: int = 0) -> frozenset[int]:
    """Return the values of a field; of its names, at least the `shortest` first letters have to be given."""
    values: set[int] = set()
    for part in field.split(","):
        if not (parsed := RANGE.fullmatch(part)):
            raise ValueError("is not a list of values and ranges")
        first = _value(parsed["first"], names, shortest) if parsed["first"] else lowest
        last = _value(parsed["last"], names, shortest) if parsed["last"] else first
        if not parsed["first"] or (parsed["step"] and not parsed["last"]):
            last = highest
        if not lowest <= first <= last <= highest:
            raise ValueError("is out of range")
        values |= set(range(first, last + 1, int(parsed["step"] or 1)))
    return frozenset(values)


def _value(text: str, names: tuple[str, ...], shortest: int) -> int:
    if len(text) >= shortest:
        for number, name in enumerate(names):
            if name.startswith(text.lower()):
                return number
    return int(text)


def check_timezone(name: str) -> str:
    """Return the name; raise ValueError if there is no such zone."""
    if name not in _timezones():
        raise ValueError("is not a time zone of the IANA database, such as Europe/Berlin")
    return name


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones()) - NOT_ZONES
