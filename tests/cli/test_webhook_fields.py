"""The fields of a webhook, from options and files."""

import json
from pathlib import Path

import pytest

from api.schemas import webhooks as schemas
from hookkeeper.cli.webhook_fields import FIXED, READ_ONLY, fields_of, read_webhook


def test_knows_the_fields_that_cannot_be_set() -> None:
    shown = set(schemas.WebhookWithSecret.model_fields)
    assert shown - READ_ONLY == set(schemas.NewWebhook.model_fields)
    assert shown - READ_ONLY - FIXED - {"secret"} == set(schemas.WebhookChanges.model_fields)


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
