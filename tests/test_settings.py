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


@pytest.mark.parametrize("ending", ["\r", "\n", " ", "é", "\x7f"])
def test_an_admin_key_that_no_request_can_send(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setenv("HOOKKEEPER_ADMIN_KEY", f"correct horse battery{ending}")
    with pytest.raises(ValidationError, match="admin_key") as invalid:
        Settings()
    assert "must be printable ASCII" in invalid.value.errors()[0]["msg"]
    assert "horse" not in str(invalid.value)


def test_an_admin_key_of_several_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKKEEPER_ADMIN_KEY", "correct horse battery")
    key = Settings().admin_key
    assert key is not None
    assert key.get_secret_value() == "correct horse battery"
