"""What `hookkeeper top` draws."""

from dataclasses import astuple
from io import StringIO
from typing import Any

import pytest

from api.openapi.examples import STATISTICS
from cli.client.api import Api
from cli.client.stats import Readings, frame, read
from cli.console import SafeConsole

GROUP: dict[str, Any]
(GROUP,) = STATISTICS.model_dump(mode="json")["items"]
SYSTEM: dict[str, Any] = {
    "deliveries": {"oldest_pending": 3725.4, "held": 1, "retrying": 2},
    "webhooks": {"healthy": 1200, "failing": 3},
    "backlog": {"main": 4567, "retry": 0},
}


def drawn(
    total: dict[str, Any] | None,
    webhooks: list[dict[str, Any]] | None,
    system: dict[str, Any] | None,
    width: int = 120,
) -> str:
    console = SafeConsole(file=StringIO(), width=width, highlight=False, soft_wrap=True)
    console.print(frame(Readings(total, webhooks, system), "http://127.0.0.1:8080"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def minute(attempts: int, succeeded: int) -> dict[str, Any]:
    step: dict[str, Any] = GROUP["steps"][0]
    outcomes = dict.fromkeys(step["outcomes"], 0) | {"succeeded": succeeded}
    return step | {"events": attempts, "attempts": attempts, "outcomes": outcomes}


def webhook(name: str, attempts: int, succeeded: int) -> dict[str, Any]:
    outcomes = dict.fromkeys(GROUP["outcomes"], 0) | {"succeeded": succeeded}
    return GROUP | {
        "webhook_id": name,
        "name": f"hook {name}",
        "tenant": "acme",
        "attempts": attempts,
        "outcomes": outcomes,
    }


def test_rates_are_those_of_the_last_whole_minute() -> None:
    total = GROUP | {"steps": [minute(1, 1), minute(120, 90), minute(7, 7)], "held": 3, "retrying": 1234}
    lines = drawn(total, [], None).splitlines()
    events, attempts, failed = (next(line for line in lines if line.startswith(name)) for name in ("Ev", "Att", "Fai"))
    assert "2.0/s" in events
    assert "2.0/s" in attempts
    assert "0.5/s" in failed
    assert any("3, 1,234" in line for line in lines if line.startswith("Held"))
    assert "No webhook has failed" in lines[-1]
    assert not any(line.startswith("Queues") for line in lines)


def test_the_webhooks_with_most_failures_come_first_and_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    webhooks = [webhook(f"wh_{n}", 100, 100 - n) for n in range(20)]

    def call(_: Api, method: str, *path: str, **query: Any) -> Any:
        if path[0] == "webhooks":
            return {"name": f"hook {path[1]}"}
        return {"items": webhooks if "by" in query else [GROUP | {"steps": [minute(1, 1)]}]}

    monkeypatch.setattr(Api, "call", call)
    text = str(drawn(*astuple(read(Api("http://127.0.0.1:1", "key"), "acme"))))
    shown = [line.split()[:3] for line in text.splitlines() if line.startswith("hook")]
    assert shown == [["hook", f"wh_{n}", f"wh_{n}"] for n in range(19, 9, -1)]


def test_an_id_can_be_copied_from_a_narrow_terminal() -> None:
    slow = webhook("wh_vqfesy5g8fsc", 12_345, 0) | {"tenant": "t6052bc5437bb", "retrying": 1234}
    assert slow["webhook_id"] in drawn(None, [slow], None, width=80)


def test_the_state_of_the_installation() -> None:
    text = drawn(GROUP | {"steps": [minute(1, 1)]}, None, SYSTEM)
    assert "1:02:05" in text
    assert "main 4,567   retry 0" in text
    assert "healthy 1,200   failing 3" in text
    assert "too many webhooks" in text
    away = drawn(GROUP | {"steps": [minute(1, 1)]}, [], dict.fromkeys(SYSTEM))
    assert away.count("the registry is unavailable") == 2
    assert "Temporal is unavailable" in away


def test_names_of_tenants_do_not_reach_the_terminal_as_they_are() -> None:
    hostile = webhook("wh_1", 10, 0) | {"tenant": "evil[bold]\x1b]0;owned\x07"}
    text = drawn(GROUP | {"steps": [minute(1, 1)]}, [hostile], None)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "evil[bold]" in text


def test_rates_that_cannot_be_added_up_keep_nothing_else_from_view() -> None:
    text = drawn(None, [webhook("wh_1", 10, 0)], SYSTEM)
    assert "There are too many counters to add up rates: use --tenant." in text
    assert "main 4,567   retry 0" in text
    assert "wh_1" in text
