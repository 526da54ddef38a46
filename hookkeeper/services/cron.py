"""Check the shape of cron expressions, and names of time zones. Pure.

Temporal checks the values of an expression. It also accepts seconds, intervals and a time zone, which could fire more
often than once a minute or contradict the schedule's other fields, so only five fields and a few names are allowed.
"""

import re
from functools import cache
from zoneinfo import available_timezones

NAMES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
FIVE_FIELDS = re.compile(r"[0-9A-Za-z*,/-]+( [0-9A-Za-z*,/-]+){4}")
NOT_ZONES = frozenset({"Factory", "localtime", "posixrules"})
"""Names in the database that are not time zones."""


def check_cron(text: str) -> str:
    """Return the expression; raise ValueError if it has another shape than five fields."""
    if text not in NAMES and not FIVE_FIELDS.fullmatch(text):
        raise ValueError(
            "must be five fields, each after one space, such as `0 9 * * 1-5`, or one of " + ", ".join(NAMES)
        )
    return text


def check_timezone(name: str) -> str:
    """Return the name; raise ValueError if there is no such zone."""
    if name not in _timezones():
        raise ValueError("is not a time zone of the IANA database, such as Europe/Berlin")
    return name


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones()) - NOT_ZONES
