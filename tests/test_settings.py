"""Settings as the environment gives them: all text."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from hookkeeper.settings import Settings


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("PT90S", timedelta(seconds=90)),
        ("90", timedelta(seconds=90)),
        ("2.5", timedelta(seconds=2.5)),
        ("P2D", timedelta(days=2)),
        ("", None),
    ],
)
def test_a_duration_is_read_from_text(monkeypatch: pytest.MonkeyPatch, text: str, meant: timedelta | None) -> None:
    for name in ("DISABLE_AFTER", "PROBE_INTERVAL"):
        monkeypatch.setenv(f"HOOKKEEPER_{name}", text)
    settings = Settings()
    assert (settings.disable_after, settings.probe_interval) == (meant, meant)


def test_a_duration_of_zero_means_never(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISABLE_AFTER", "PROBE_INTERVAL"):
        monkeypatch.setenv(f"HOOKKEEPER_{name}", "0")
    assert (Settings().disable_after, Settings().probe_interval) == (None, None)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("5 attempts, 15m", (5, 900.0)),
        ("1 attempt", (1, None)),
        ("90", (None, 90.0)),
        ("2h", (None, 7200.0)),
        ("", (5, 900.0)),
        *(("5", (None, 5.0)), ("0 attempts", None), ("5 attempts 15m", None), (", 15m", None), ("never", None)),
        *(("15m, 5 attempts", None), ("soon", None), ("0s", None)),
    ],
)
def test_the_threshold_of_failing_is_read_from_text(
    monkeypatch: pytest.MonkeyPatch, text: str, meant: tuple[int | None, float | None] | None
) -> None:
    monkeypatch.setenv("HOOKKEEPER_ALERT_AFTER", text)
    if meant is None:
        with pytest.raises(ValidationError, match="alert_after"):
            Settings()
    else:
        limit = Settings().alert_after
        assert (limit.attempts, limit.seconds) == meant


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("RETENTION", "60"), ("RETENTION", ""), ("RETENTION", "-5"), ("RETENTION", "P999999999D")),
        *(("DISABLE_AFTER", "-P1D"), ("DISABLE_AFTER", "soon"), ("PROBE_INTERVAL", "PT0.5S")),
        *(("MAX_HOLD", "P100000D"), ("SHUTDOWN_TIMEOUT", "1e99"), ("SHUTDOWN_TIMEOUT", "nan")),
    ],
)
def test_an_invalid_duration_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(f"HOOKKEEPER_{name}", text)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_the_units_of_a_duration_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKKEEPER_RETENTION", "30 days")
    with pytest.raises(ValidationError, match="number of seconds, or an ISO 8601 duration such as PT90S"):
        Settings()


def test_a_port_that_kubernetes_sets_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKKEEPER_PORT", "tcp://10.96.0.7:8080")
    with pytest.raises(ValidationError, match="enableServiceLinks: false"):
        Settings()


@pytest.mark.parametrize("name", ["PUBLIC_URL", "TEMPORAL_UI_URL"])
def test_a_url_of_links_has_a_scheme(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"HOOKKEEPER_{name}", "hooks.example/")
    with pytest.raises(ValidationError, match="must begin with http"):
        Settings()
    monkeypatch.setenv(f"HOOKKEEPER_{name}", "https://hooks.example/")
    assert getattr(Settings(), name.lower()) == "https://hooks.example"


@pytest.mark.parametrize("ending", ["\r", "\n", " ", "é", "\x7f"])
def test_an_admin_key_that_no_request_can_send_is_refused(monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setenv("HOOKKEEPER_ADMIN_KEY", f"correct horse battery{ending}")
    with pytest.raises(ValidationError, match="admin_key") as invalid:
        Settings()
    assert "must be printable ASCII" in invalid.value.errors()[0]["msg"]
    assert "horse" not in str(invalid.value)


def test_an_admin_key_of_several_words_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKKEEPER_ADMIN_KEY", "correct horse battery")
    key = Settings().admin_key
    assert key is not None
    assert key.get_secret_value() == "correct horse battery"


SERVER = "postgresql+asyncpg://hookkeeper:pa%40ss@db.example"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"{SERVER}:54x2/hookkeeper", "is not a URL such as postgresql"),
        (f"{SERVER}:70000/hookkeeper", "the port is not between 1 and 65535"),
        ("postgresql+asyncpg://hookkeeper:horse@battery@db.example/hookkeeper", "write %40"),
        (
            "postgres://hookkeeper:horse@db.example/hookkeeper",
            "must begin with sqlite+aiosqlite:// or postgresql+asyncpg:",
        ),
        (f"{SERVER}/hookkeeper?sslmode=require", "no option sslmode; write ssl=require"),
        (f"{SERVER}/hookkeeper?connect_timeout=5&ssl=require", "no option connect_timeout"),
    ],
)
def test_a_database_url_that_no_driver_can_use_is_refused(monkeypatch: pytest.MonkeyPatch, url: str, says: str) -> None:
    """It was found at the first connection: with a traceback, or with 500 for each request."""
    monkeypatch.setenv("HOOKKEEPER_DATABASE_URL", url)
    with pytest.raises(ValidationError, match="database_url") as invalid:
        Settings()
    assert says in invalid.value.errors()[0]["msg"]
    assert "horse" not in str(invalid.value)


@pytest.mark.parametrize("rest", ["", "?ssl=verify-full", "?prepared_statement_cache_size=0", "?host=/run/postgresql"])
def test_a_database_url_can_have_options_of_its_driver(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    monkeypatch.setenv("HOOKKEEPER_DATABASE_URL", f"{SERVER}/hookkeeper{rest}")
    assert Settings().database_url == f"{SERVER}/hookkeeper{rest}"


@pytest.mark.parametrize("proxies", ["*", "proxy.internal", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.1;10.0.0.2"])
def test_only_addresses_and_networks_of_proxies_can_be_trusted(monkeypatch: pytest.MonkeyPatch, proxies: str) -> None:
    assert Settings().trusted_proxies == ()
    monkeypatch.setenv("HOOKKEEPER_TRUSTED_PROXIES", "10.0.0.1, fd00::/8,")
    assert Settings().trusted_proxies == ("10.0.0.1", "fd00::/8")
    monkeypatch.setenv("HOOKKEEPER_TRUSTED_PROXIES", proxies)
    with pytest.raises(ValidationError):
        Settings()
