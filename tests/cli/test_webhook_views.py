"""The health and settings of a webhook, as printed."""

from typing import Any

import pytest

from cli.client.webhooks import cause, webhook_fields

NOON, ONE = "2026-01-01T12:00:00.000Z", "2026-01-01T13:00:00.000Z"
KNOWN: dict[str, Any] = {
    "status": "healthy",
    "last_success_at": NOON,
    "slow_ms": None,
    "throttled_until": None,
    "failing": [],
}
FAILED = {"target": "email.1", "since": ONE, "failures": 3, "status_code": 550, "error": "smtp_550", "text": "no\nsuch"}


@pytest.mark.parametrize(
    ("health", "lines"),
    [
        ({"status": "new", "last_success_at": None}, [("health", "new")]),
        ({}, [("health", "healthy"), ("last_success_at", NOON)]),
        (
            {"status": "failing", "failing": [FAILED, FAILED | {"target": "webhook", "text": ""}]},
            [
                ("health", "failing"),
                ("failing", f"email.1, 3 in a row since {ONE}: The mail server refuses the email: SMTP 550, no such"),
                ("remedy", "Correct the address, or what its answer complains of."),
                ("failing", f"webhook, 3 in a row since {ONE}: The mail server refuses the email: SMTP 550"),
                ("remedy", "Correct the address, or what its answer complains of."),
                ("last_success_at", NOON),
            ],
        ),
        (
            {"status": "slow", "slow_ms": 2500.0},
            [("health", "slow"), ("slow", "requests take up to 2.5 s"), ("last_success_at", NOON)],
        ),
        (
            {"status": "degraded", "throttled_until": ONE},
            [("health", f"degraded, no requests until {ONE}"), ("last_success_at", NOON)],
        ),
    ],
)
def test_health(health: dict[str, Any], lines: list[tuple[str, str]]) -> None:
    assert webhook_fields({"health": KNOWN | health}) == lines


@pytest.mark.parametrize(
    ("failing", "shown"),
    [
        ([], ""),
        (
            [FAILED | {"target": "webhook", "status_code": 500, "error": "http_500", "text": "[b]"}],
            r"The receiver has an error of its own: 500 Internal Server Error “\[b]”",
        ),
        ([FAILED | {"text": ""}, FAILED], "email.1: The mail server refuses the email: SMTP 550 [dim]+1[/dim]"),
        (
            [FAILED | {"target": "webhook", "status_code": None, "error": "dns", "text": "a.example"}],
            "There is no such host: a.example",
        ),
    ],
)
def test_the_list_names_the_cause(failing: list[dict[str, Any]], shown: str) -> None:
    assert cause({"health": KNOWN | {"failing": failing}}) == shown


@pytest.mark.parametrize(("seconds", "lines"), [(None, []), (0.0, ["never"]), (60.0, ["60.0"])])
def test_disable_after(seconds: float | None, lines: list[str]) -> None:
    assert webhook_fields({"disable_after": seconds}) == [("disable_after", line) for line in lines]
