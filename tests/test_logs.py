"""Log lines as text: without colours, they are those of structlog's console."""

import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

from hookkeeper import logs
from hookkeeper.logs import _console

LINE = {"timestamp": "2026-11-28T01:02:03Z", "level": "info", "event": "attempt", "logger": "hookkeeper.delivery"}


def raised() -> object:
    try:
        raise ValueError("the message")
    except ValueError:
        return sys.exc_info()


@pytest.mark.parametrize(
    "fields",
    [
        LINE,
        LINE | {"tenant": "acme", "attempt": 1, "duration_ms": 3.5, "error": None, "rest": True},
        LINE | {"a": "", "b": "two words", "c": "x=y", "d": 'say "it"', "e": "it's", "f": "a\nb\tc\r", "g": "ä\x1b[0m"},
        LINE | {"event": "an event whose text is longer than its column is wide"},
        LINE | {"event": "a\nb", "level": "critical"},
        LINE | {"z": [1, "two"], "y": {"three": 3}, "x": b"four", "w": object},
        {"event": "without a logger"},
        LINE | {"stack": "Stack (most recent call last):"},
        LINE | {"exception": "Traceback of another process"},
        LINE | {"exc_info": raised(), "tenant": "acme"},
    ],
)
def test_a_line_without_colours_is_that_of_structlog(fields: dict[str, Any]) -> None:
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    ours = _console(is_terminal=False)
    assert ours(None, "info", dict(fields)) == plain(None, "info", dict(fields))


def test_a_terminal_has_colours() -> None:
    assert "\x1b[" in _console(is_terminal=True)(None, "info", dict(LINE))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has this device")
@pytest.mark.parametrize("level", ["info", "warning", "error", "exception"])
def test_a_full_disk_stops_nothing_but_the_log(monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    file = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - its close fails, as each write does
    monkeypatch.setattr(sys, "stderr", file)
    getattr(logs._Logger("hookkeeper.test"), level)("a line")
    with pytest.raises(OSError, match="No space left"):
        file.close()
