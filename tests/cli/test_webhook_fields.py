"""The fields of a webhook, from options and files."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.client.resources import fields_of_file, fields_of_options
from cli.client.webhooks import SHORT
from cli.main import app
from hookkeeper.services.webhooks.fields import NewWebhook, WebhookChanges

CHANGES = "webhooks.fields:WebhookChanges"


def fields_of(options: dict[str, Any]) -> dict[str, Any]:
    return fields_of_options(WebhookChanges, options, SHORT)


def test_an_update_without_a_change_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKKEEPER_URL", "http://127.0.0.1:1")
    for args, stdin in (((), ""), (("--file", "-"), '{"tenant": "acme", "id": "wh_1"}')):
        done = CliRunner().invoke(app, ["webhooks", "update", "wh_1", *args], input=stdin)
        assert done.exit_code == 2
        words = " ".join(done.output.replace("│", " ").split())
        assert "nothing to change: give an option that sets a field, or --file" in words


def test_no_option_changes_nothing() -> None:
    assert fields_of({"url": None, "events": (), "ordered": None}) == {}


def test_an_empty_text_sets_the_default() -> None:
    assert fields_of({"url": "", "emails": [""], "headers": [""], "timeout": "", "on_failure_emails": [""]}) == {
        "url": None,
        "emails": (),
        "headers": {},
        "timeout": 15,
        "on_failure": None,
    }


@pytest.mark.parametrize(
    ("text", "ordered"),
    [
        ("event.data.customer_id", {"key": "event.data.customer_id"}),
        ("true", True),
        ("false", False),
        ("", False),
    ],
)
def test_one_option_has_order_and_its_key(text: str, ordered: object) -> None:
    assert fields_of({"ordered": text}) == {"ordered": ordered}


@pytest.mark.parametrize(
    ("option", "to"),
    [
        ("a@b.example", ["a@b.example"]),
        ("a@b.example , c@d.example", ["a@b.example", "c@d.example"]),
        ('"Smith, Ann" <a@b.example>,c@d.example', ['"Smith, Ann" <a@b.example>', "c@d.example"]),
        ("{{ event.data.to | join(',') }}, c@d.example", ["{{ event.data.to | join(',') }}", "c@d.example"]),
        (
            "{% if event.data.x == 'a,b' %}a@b.example{% endif %}",
            ["{% if event.data.x == 'a,b' %}a@b.example{% endif %}"],
        ),
    ],
)
def test_commas_separate_addresses(option: str, to: list[str]) -> None:
    assert fields_of({"emails": [option, option]})["emails"] == [{"to": to}] * 2


@pytest.mark.parametrize(
    "address",
    [
        "https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/" + "x" * 24,
        "https://discordapp.com/api/webhooks/123456/a-b_c/",
        "slack://T0A1B2C3D/B0A1B2C3D/" + "x" * 24,
        "nosuch://token",
    ],
)
def test_the_address_of_a_service_notifies_the_service(address: str) -> None:
    """Services refuse the event itself. What is no address of theirs is refused by the API."""
    assert fields_of({"notifications": [address]})["notifications"] == [{"service": address}]


@pytest.mark.parametrize(
    "url",
    ["https://hooks.slack.com/triggers/E1/2/3", "https://hooks.slack.com.example/services/T/B/X", "http://a.example"],
)
def test_another_url_gets_the_event(url: str) -> None:
    assert fields_of({"notifications": [url]})["notifications"] == [{"http": {"url": url}}]


def test_a_file_can_be_an_answer_and_keeps_what_the_api_refuses(tmp_path: Path) -> None:
    file = tmp_path / "hook.json"
    file.write_text(json.dumps({"id": "wh_1", "tenant": "acme", "name": "file", "health": {}, "mistyped": 1}))
    assert fields_of_file(str(file), CHANGES) == {"name": "file", "mistyped": 1}
    assert fields_of_file(str(file), "webhooks.fields:NewWebhook").keys() == {"tenant", "name", "mistyped"}


def test_options_of_one_part_make_one_field() -> None:
    options = {
        "retry_initial": "2s",
        "retry_attempts": "5",
        "payload_static": '{"a": [1]}',
        "on_failure_emails": ["a@b.c"],
    }
    assert fields_of_options(NewWebhook, options, SHORT) == {
        "payload": {"static": {"a": [1]}},
        "on_failure": {"emails": [{"to": ["a@b.c"]}]},
        "retry": {"initial": 2, "attempts": 5},
    }
