"""Settings as the environment gives them: all text."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from hookkeeper.settings import Settings


@pytest.mark.parametrize(
    ("text", "meant"),
    [("PT90S", timedelta(seconds=90)), ("90", timedelta(seconds=90)), ("P2D", timedelta(days=2)), ("", None)],
)
def test_durations(monkeypatch: pytest.MonkeyPatch, text: str, meant: timedelta | None) -> None:
    for name in ("DISABLE_AFTER", "PROBE_INTERVAL"):
        monkeypatch.setenv(f"HOOKKEEPER_{name}", text)
    settings = Settings()
    assert (settings.disable_after, settings.probe_interval) == (meant, meant)


def test_never(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISABLE_AFTER", "PROBE_INTERVAL"):
        monkeypatch.setenv(f"HOOKKEEPER_{name}", "0")
    assert (Settings().disable_after, Settings().probe_interval) == (None, None)


@pytest.mark.parametrize(
    ("name", "text"),
    [("RETENTION", "60"), ("RETENTION", ""), ("DISABLE_AFTER", "-P1D"), ("PROBE_INTERVAL", "PT0.5S")],
)
def test_bad_durations(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(f"HOOKKEEPER_{name}", text)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()
