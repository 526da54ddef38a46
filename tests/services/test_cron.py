"""Which cron expressions fire within a period, and which never do."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from cases import each
from hookkeeper.services.schedules.cron import check_cron, fires_between

NOON = datetime(2026, 11, 29, 12, 0, 30, tzinfo=UTC)  # a Sunday


@each(
    "text",
    ["0 0 30,31 2 *", "0 0 30 feb *", "0 0 31 4,6,9,11 *", "0 0 31 4/5 *", "0 0 30-31/1 2 mon", "* * 31 2-2 1-5"],
)
def test_a_day_that_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="never fires"):
        check_cron(text)


@each("text", ["61 * * * *", "0 0 5-1 * *", "0 0 30 2 noday", "*/0 * * * *", "0 9 * * 1,", "0 24 * * *", "0 0 0 * *"])
def test_a_value_that_no_field_has_is_refused(text: str) -> None:
    """Temporal may be away when the schedule is made."""
    with pytest.raises(ValueError, match="out of range"):
        check_cron(text)


@each(
    "text",
    [
        "0 0 29 2 *",
        "0 0 29 2 mon",
        "0 0 30,31 1-2 *",
        "0 0 31 */2 *",
        "0 0 29/2 February 7",
        "0 0 31 * sun-thursday/2",
        "0 0 30-31 2/3 *",
        "@yearly",
    ],
)
def test_a_day_that_comes_is_not(text: str) -> None:
    assert check_cron(text) == text


@each(
    ("text", "zone", "seconds", "fires"),
    [
        ("1 12 * * *", "UTC", 30, True),
        ("1 12 * * *", "UTC", 29, False),
        ("0 12 * * *", "UTC", 23 * 3600, False),  # it is half a minute late
        ("0 12 * * *", "UTC", 86400, True),
        ("1 13 * * *", "Europe/Berlin", 30, True),
        ("1 12 * * *", "Europe/Berlin", 30, False),
        ("*/15 * * * 0", "UTC", 900, True),
        ("*/15 * * * 1-6", "UTC", 900, False),
        ("0 9 25 12 *", "UTC", 86400 * 25, False),
        ("0 9 25 12 *", "UTC", 86400 * 26, True),
        ("@daily", "UTC", 43169, False),
        ("@daily", "UTC", 43170, True),
    ],
)
def test_which_expressions_fire_within_a_period(text: str, zone: str, seconds: int, fires: bool) -> None:
    assert fires_between(text, zone, NOON, NOON + timedelta(seconds=seconds)) is fires


def test_an_expression_costs_little() -> None:
    before = time.process_time()
    for text in ("0 0 30 2 *", "* * * * *", "0-59 0-23 1-31 1-12 0-6", "0 0 29 2 mon", "0 0 31 2,4,6,9,11 1"):
        fires_between(text, "Europe/Berlin", NOON, NOON + timedelta(days=36500))
    assert time.process_time() - before < 0.5
