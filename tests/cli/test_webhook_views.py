"""The health and settings of a webhook, as printed."""

from typing import Any

import pytest

from hookkeeper.cli.webhooks import webhook_fields

NOON, ONE = "2026-01-01T12:00:00.000Z", "2026-01-01T13:00:00.000Z"
KNOWN = {"status": "healthy", "failing_since": None, "failures": 0, "last_success_at": NOON, "throttled_until": None}


@pytest.mark.parametrize(
    ("health", "lines"),
    [
        ({"status": "unknown", "last_success_at": None}, [("health", "unknown")]),
        ({}, [("health", "healthy"), ("last_success_at", NOON)]),
        (
            {"status": "failing", "failures": 3, "failing_since": ONE},
            [("health", f"failing, 3 in a row since {ONE}"), ("last_success_at", NOON)],
        ),
        (
            {"status": "throttled", "throttled_until": ONE},
            [("health", f"throttled, no requests until {ONE}"), ("last_success_at", NOON)],
        ),
    ],
)
def test_health(health: dict[str, Any], lines: list[tuple[str, str]]) -> None:
    assert webhook_fields({"health": KNOWN | health}) == lines


@pytest.mark.parametrize(("seconds", "lines"), [(None, []), (0.0, ["never"]), (60.0, ["60.0"])])
def test_disable_after(seconds: float | None, lines: list[str]) -> None:
    assert webhook_fields({"disable_after": seconds}) == [("disable_after", line) for line in lines]
