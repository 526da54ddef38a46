"""Statistics on the command line: tables, sparklines, and which step is asked for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from api.openapi.examples import STATISTICS
from cli.client.api import Api
from cli.client.stats import print_statistics, sparkline
from cli.main import app

HOSTILE = "evil[bold]\x1b]0;owned\x07"
BY_WEBHOOK = STATISTICS.model_dump(mode="json")
(GROUP,) = BY_WEBHOOK["items"]


def name_of(webhook_id: str) -> str:
    return "" if webhook_id == "wh_quiet" else "Order service"


def with_groups(by: str, *groups: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return BY_WEBHOOK | {"by": by, "items": [GROUP | group for group in groups]} | fields


@pytest.mark.parametrize(
    ("counts", "drawn"),
    [
        ([], ""),
        ([0, 0], "  "),
        ([1], "█"),
        ([0, 1, 8, 2], " ▁█▂"),
        ([1, 1000], "▁█"),
        (list(range(9)), " ▁▂▃▄▅▆▇█"),
    ],
)
def test_sparklines(counts: list[int], drawn: str) -> None:
    assert sparkline(counts) == drawn


def test_a_table_has_a_row_for_each_group(capsys: pytest.CaptureFixture[str]) -> None:
    step = GROUP["steps"][0]
    nothing = step | {"attempts": 0, "outcomes": dict.fromkeys(step["outcomes"], 0)}
    quiet = {
        "webhook_id": "wh_quiet",
        "success_rate": None,
        "error_rate": 0.00001,
        "latency": None,
        "steps": [nothing, step],
    }
    print_statistics(with_groups("webhook", {}, quiet), name_of)
    period, header, row, quiet_row = capsys.readouterr().out.splitlines()
    assert period == "2026-01-02T00:00:00.000Z to 2026-01-03T00:00:00.000Z"
    assert header.split()[:7] == ["Name", "Webhook", "Tenant", "Events", "Succeeded", "Failed", "Success"]
    assert row.split() == [
        *("Order", "service"),
        *(GROUP["webhook_id"], "acme", "-", "118", "2", "98.33%", "131", "9.93%", "11"),
        *("19", "ms", "71", "ms", "13362", "ms", "12", "3", "█", "█"),
    ]
    assert quiet_row.split()[:9] == ["wh_quiet", "acme", "-", "118", "2", "-", "131", "0.01%", "11"]
    assert row.index("118") == quiet_row.index("118") == header.index("Succeeded")


def test_a_total_is_printed_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_statistics(with_groups("total", {"events": 12_345, "success_rate": 0.99999}, waiting_capped=True), name_of)
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    assert {name: value.strip() for name, value in lines.items()} == {
        **{"events": "12,345", "succeeded": "118", "failed": "2", "success": "99.99%"},
        **{
            "attempts": "131",
            "error rate": "9.93%",
            "retries": "11",
            "p50": "19 ms",
            "p95": "71 ms",
            "p99": "13362 ms",
        },
        **{"held": "12", "retrying": "3", "attempts over time": "█", "errors over time": "█"},
    }


def test_too_many_waiting_deliveries_are_mentioned(capsys: pytest.CaptureFixture[str]) -> None:
    print_statistics(with_groups("webhook", {}, waiting_capped=True), name_of)
    assert capsys.readouterr().out.endswith("More deliveries are held or retrying than were counted.\n")


def test_names_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_statistics(with_groups("type", {"type": HOSTILE}), name_of)
    printed = capsys.readouterr().out
    assert r"evil[bold]\x1b]0;owned\x07" in printed
    assert "\x1b" not in printed


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the query that a command sends."""
    query: dict[str, Any] = {}

    def call(_: Api, method: str, *path: str, **given: Any) -> Any:
        if path[0] == "webhooks":
            return {"name": ""}
        assert (method, path) == ("GET", ("stats",))
        query.update(given)
        return BY_WEBHOOK

    monkeypatch.setattr(Api, "call", call)
    return query


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        ([], 3600),
        (["--since", "20m"], 60),
        (["--since", "1h"], 300),
        (["--since", "7d"], 21_600),
        (["--since", "30d"], 86_400),
        (["--since", "90d"], 3 * 86_400),
        (["--since", "3d", "--until", "71h"], 3600),
        (["--since", "2h", "--step", "15m"], 900),
        (["--since", "2026-13-01"], None),  # for the API to refuse
    ],
)
def test_the_step_follows_the_period(asked: dict[str, Any], arguments: list[str], step: int | None) -> None:
    done = CliRunner().invoke(app, ["stats", "--by", "webhook", *arguments])
    assert done.exit_code == 0, done.output
    assert asked["step"] == step
    assert GROUP["webhook_id"] in done.output


def test_filters_and_json(asked: dict[str, Any]) -> None:
    arguments = "--by type --tenant acme --webhook wh_1 --type order.paid --channel email --since 1d --json"
    done = CliRunner().invoke(app, ["stats", *arguments.split()])
    assert done.exit_code == 0, done.output
    assert '"waiting_capped": false' in done.output
    wanted = {"by": "type", "tenant": "acme", "webhook": "wh_1", "type": "order.paid", "channel": "email"}
    assert asked.items() >= wanted.items()
    age = datetime.now(UTC) - datetime.fromisoformat(asked["since"])
    assert timedelta(days=1) <= age < timedelta(days=1, minutes=5)


def test_a_step_that_is_no_time(asked: dict[str, Any]) -> None:
    done = CliRunner().invoke(app, ["stats", "--step", "hourly"])
    assert done.exit_code == 2
    assert not asked
