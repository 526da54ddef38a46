"""Check the shape of cron expressions, and names of time zones. Pure.

Temporal checks the values of an expression. It also accepts seconds, intervals and a time zone, which could fire more
often than once a minute or contradict the schedule's other fields, so only five fields and a few names are allowed.
"""

import calendar
import re
from functools import cache
from zoneinfo import available_timezones

NAMES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
FIVE_FIELDS = re.compile(r"[0-9A-Za-z*,/-]+( [0-9A-Za-z*,/-]+){4}")
NOT_ZONES = frozenset({"Factory", "localtime", "posixrules"})
"""Names in the database that are not time zones."""


def check_cron(text: str) -> str:
    """Return the expression; raise ValueError if it has another shape than five fields, or a day that never comes."""
    if text not in NAMES and not FIVE_FIELDS.fullmatch(text):
        raise ValueError(
            "must be five fields, each after one space, such as `0 9 * * 1-5`, or one of " + ", ".join(NAMES)
        )
    if text not in NAMES and _never_comes(*text.split()[2:4]):
        raise ValueError("never fires: this month has no such day")
    return text


def _never_comes(day: str, month: str) -> bool:
    """Return whether these fields are one day that its month does not have, such as 31 and 2."""
    if not (day.isdecimal() and month.isdecimal() and 1 <= int(month) <= 12):
        return False
    return int(day) > calendar.monthrange(2000, int(month))[1]  # a leap year


def check_timezone(name: str) -> str:
    """Return the name; raise ValueError if there is no such zone."""
    if name not in _timezones():
        raise ValueError("is not a time zone of the IANA database, such as Europe/Berlin")
    return name


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones()) - NOT_ZONES
