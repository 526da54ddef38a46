"""Values of options and the key, as people mistype them: each is one sentence, not a traceback."""

from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from cli.client.api import Api, NotConnected
from cli.client.options import age_of, later, read_json, time_of
from cli.console import Failed
from cli.main import app


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "[1e400]", r'"\ud800"', "[" * 100_000, "1" * 5000])
def test_json_that_cannot_be_sent(text: str) -> None:
    with pytest.raises(Failed, match=r"^--data is n"):
        read_json(text, "--data")


@pytest.mark.parametrize("text", ["yesterday", "2 hours", "999999d", "1767323045"])
def test_what_is_neither_an_age_nor_a_time(text: str) -> None:
    with pytest.raises(
        Failed, match=r"is neither a time such as 2026-01-02T03:04:05Z nor an age such as 30m, 2h or 7d"
    ):
        time_of(text)


def test_ages_are_converted_and_dates_left_to_the_api() -> None:
    assert time_of("2026-01-02") == "2026-01-02"
    assert age_of("999999s") == timedelta(seconds=999_999)
    assert age_of("7d") == timedelta(days=7)


@pytest.mark.parametrize("key", ["hk_secret ", " hk_secret", "hk_secret\r", "hk_sec\nret", "hk_secr\u00e9t"])
def test_a_key_that_no_header_can_have_is_not_shown(key: str) -> None:
    with pytest.raises(Failed, match=r"^HOOKKEEPER_API_KEY contains invalid characters") as failed:
        Api("http://127.0.0.1:1", key).call("GET", "events")
    assert "hk_" not in str(failed.value)


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_an_address_can_have_the_path_of_the_api(path: str) -> None:
    client = Api(f"http://127.0.0.1:1{path}", "key")
    with pytest.raises(NotConnected, match=r"^cannot reach http://127\.0\.0\.1:1 \("):
        client.call("GET", "events")
    client.close()


def test_a_key_of_several_words_is_sent() -> None:
    client = Api("http://127.0.0.1:1", "correct horse battery")
    with pytest.raises(NotConnected):
        client.call("GET", "events")
    client.close()


@pytest.mark.parametrize("arguments", [("\udcff", None), ("events", "\udcff")])
def test_an_argument_that_is_not_utf_8(arguments: tuple[str, str | None]) -> None:
    path, tenant = arguments
    client = Api("http://127.0.0.1:1", "key")
    with pytest.raises(Failed, match=r"^an argument is not valid UTF-8$"):
        client.call("GET", path, tenant=tenant)
    client.close()


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400"])
@pytest.mark.parametrize("option", ["--timeout", "--rate-limit", "--retry-coefficient"])
def test_what_is_no_number(option: str, number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKKEEPER_URL", "http://127.0.0.1:1")
    done = CliRunner().invoke(app, ["webhooks", "create", "https://a.example", option, number])
    assert isinstance(done.exception, Failed)
    assert str(done.exception) == "an argument is not a finite number"


@pytest.mark.parametrize("id_", ["", ".", ".."])
def test_an_id_that_would_make_another_path(id_: str) -> None:
    """`event-types show .` listed all event types."""
    client = Api("http://127.0.0.1:1", "key")
    with pytest.raises(Failed, match=r"is no id: check the argument, such as a variable that is not set$"):
        client.call("DELETE", "webhooks", id_)
    client.close()


def test_an_empty_webhook_recovers_no_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    """`webhooks recover "$ID" --since 2h`, where ID is not set, redelivered the failed events of the whole tenant."""
    monkeypatch.setenv("HOOKKEEPER_URL", "http://127.0.0.1:1")
    done = CliRunner().invoke(app, ["webhooks", "recover", "", "--since", "2h"])
    assert isinstance(done.exception, Failed)
    assert "is no id" in str(done.exception)


def test_a_delay_becomes_a_time_to_come() -> None:
    assert later(None) is None
    assert later("2026-01-02T03:04:05Z") == "2026-01-02T03:04:05Z"
    given = datetime.fromisoformat(str(later("in 10m"))) - datetime.now(UTC)
    assert timedelta(minutes=9) < given <= timedelta(minutes=10)


@pytest.mark.parametrize("text", ["10m", "in 10", "in an hour", "tomorrow", "in 999999d"])
def test_what_is_no_time_to_come(text: str) -> None:
    with pytest.raises(Failed, match="such as"):
        later(text)
