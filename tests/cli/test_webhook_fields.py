"""The fields of a webhook, from options and files."""

import json
from pathlib import Path

import apprise
import pytest
from typer.testing import CliRunner

from hookkeeper.cli.main import app
from hookkeeper.cli.webhook_fields import FIXED, READ_ONLY, fields_of, read_webhook
from hookkeeper.content import apprise_services
from hookkeeper.services import webhook_fields as schemas


def test_knows_the_fields_that_cannot_be_set() -> None:
    shown = set(schemas.WebhookWithSecret.model_fields)
    assert shown - READ_ONLY == set(schemas.NewWebhook.model_fields)
    assert shown - READ_ONLY - FIXED - {"secret"} == set(schemas.WebhookChanges.model_fields)


def test_an_update_without_a_change_names_each_option_that_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOKKEEPER_URL", "http://127.0.0.1:1")
    options = "--url, --event, --filter, --email, --notify, --file, --name, --header, --retry, --timeout, --rate-limit,"
    for args, stdin in (((), ""), (("--file", "-"), '{"tenant": "acme", "id": "wh_1"}')):
        done = CliRunner().invoke(app, ["webhooks", "update", "wh_1", *args], input=stdin)
        words = " ".join(done.output.replace("│", " ").split())
        assert done.exit_code == 2
        assert f"nothing to change: give {options} --ordered, --order-policy or --enabled " in words


def test_no_option_changes_nothing() -> None:
    assert fields_of({"file": None, "url": None, "event": (), "ordered": None}) == {}


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
    assert fields_of({"email": [option, option]})["emails"] == [{"to": to}] * 2


@pytest.mark.parametrize(
    ("address", "service"),
    [
        ("https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/" + "x" * 24, "slack://T0A1B2C3D/B0A1B2C3D/" + "x" * 24),
        ("https://discord.com/api/webhooks/123456/a-b_c", "discord://123456/a-b_c"),
        ("https://discordapp.com/api/webhooks/123456/a-b_c/", "discord://123456/a-b_c"),
    ],
)
def test_the_address_of_a_known_service_notifies_the_service(address: str, service: str) -> None:
    """Slack and Discord refuse the event itself."""
    assert fields_of({"notify": [address]})["notifications"] == [{"service": service}]
    apprise_services.load()
    known, made = apprise.Apprise.instantiate(address), apprise.Apprise.instantiate(service)
    assert known
    assert made
    assert known.url() == made.url(), "Apprise knows it as the same"  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "url",
    ["https://hooks.slack.com/triggers/E1/2/3", "https://hooks.slack.com.example/services/T/B/X", "http://a.example"],
)
def test_another_url_gets_the_event(url: str) -> None:
    assert fields_of({"notify": [url]})["notifications"] == [{"http": {"url": url}}]


def test_options_override_a_file(tmp_path: Path) -> None:
    file = tmp_path / "hook.json"
    file.write_text(
        json.dumps({"id": "wh_1", "name": "file", "url": "https://a.example", "emails": [{"to": ["a@b.c"]}]})
    )
    assert read_webhook(str(file)).keys() == {"name", "url", "emails"}
    options = {"url": "", "notify": ["slack://a/b/c", "https://b.example"], "email": [""], "retry": "none"}
    assert fields_of({"file": str(file), **options}) == {
        "name": "file",
        "url": None,
        "emails": [],
        "notifications": [{"service": "slack://a/b/c"}, {"http": {"url": "https://b.example"}}],
        "retry": {"schedule": []},
    }
