"""A webhook from options and files: what no API could say better."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.schemas import webhooks as schemas
from hookkeeper.cli.webhook_fields import FIXED, SHOWN_ONLY, fields_of, read_webhook

NOTHING: dict[str, Any] = dict.fromkeys(
    (
        *("url", "events", "filter_", "emails", "notify", "name", "headers", "retry", "timeout", "rate_limit"),
        *("ordered", "order_policy"),
    )
)


def test_knows_which_fields_of_a_webhook_nobody_can_set() -> None:
    shown = set(schemas.WebhookWithSecret.model_fields)
    assert shown - SHOWN_ONLY == set(schemas.NewWebhook.model_fields)
    assert shown - SHOWN_ONLY - FIXED - {"secret"} == set(schemas.WebhookChanges.model_fields)


def test_nothing_given_is_nothing_changed() -> None:
    assert fields_of(None, **NOTHING) == {}


@pytest.mark.parametrize(
    ("given", "to"),
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
def test_commas_part_addresses(given: str, to: list[str]) -> None:
    assert fields_of(None, **NOTHING | {"emails": [given, given]})["emails"] == [{"to": to}] * 2


def test_options_override_a_file(tmp_path: Path) -> None:
    file = tmp_path / "hook.json"
    file.write_text(
        json.dumps({"id": "wh_1", "name": "file", "url": "https://a.example", "emails": [{"to": ["a@b.c"]}]})
    )
    assert read_webhook(str(file)).keys() == {"name", "url", "emails"}
    options = {"url": "", "notify": ["slack://a/b/c", "https://b.example"], "emails": [""], "retry": "none"}
    assert fields_of(str(file), **NOTHING | options) == {
        "name": "file",
        "url": None,
        "emails": [],
        "notifications": [{"service": "slack://a/b/c"}, {"http": {"url": "https://b.example"}}],
        "retry": {"schedule": []},
    }
