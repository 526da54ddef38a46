"""A mistyped name of a setting is reported. Otherwise the setting would have no effect without a notice."""

from pathlib import Path

import pytest

from cli.operators.startup import describe_unknown, unknown_settings


@pytest.mark.parametrize(
    ("names", "sentences"),
    [
        (["HOOKKEEPER_RETENTION", "hookkeeper_port", "PATH", "TEMPORAL_ADDRESS"], []),
        (["HOOKKEEPER_URL", "HOOKKEEPER_API_KEY", "HOOKKEEPER_SECRET", "HOOKKEEPER_VERSION"], []),
        (
            ["HOOKKEEPER_RETENTON", "hookkeeper_retenton"],
            ["HOOKKEEPER_RETENTON is not a setting: did you mean HOOKKEEPER_RETENTION?"],
        ),
        (
            ["HOOKKEEPER_SERVICE_PORT_HTTP", "HOOKKEEPER_MAX_RUN_CASH_BYTES"],
            [
                "HOOKKEEPER_MAX_RUN_CASH_BYTES is not a setting: did you mean HOOKKEEPER_MAX_RUN_CACHE_BYTES?",
                "HOOKKEEPER_SERVICE_PORT_HTTP is not a setting",
            ],
        ),
    ],
)
def test_sentences(names: list[str], sentences: list[str]) -> None:
    assert describe_unknown(names) == sentences


def test_names_of_the_environment_and_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("HOOKKEEPER_RETENSION=60\nHOOKKEEPER_PORT=8080\n")
    monkeypatch.setenv("HOOKKEEPER_HOTS", "0.0.0.0")
    assert unknown_settings() == [
        "HOOKKEEPER_HOTS is not a setting: did you mean HOOKKEEPER_HOST?",
        "HOOKKEEPER_RETENSION is not a setting: did you mean HOOKKEEPER_RETENTION?",
    ]
