"""The description of a webhook's fields: requests, answers, the form and the command line have each field of it."""

import asyncio
import json
import os
import sys
from typing import Any

import pytest
from browsers import Form, Page, browsing
from typer.testing import CliRunner

from cli.main import app
from drills.authorities import Authority
from hookkeeper.crypto.signing_keys import new_secret
from hookkeeper.services.field_texts import by_path, fields_of, write_fields
from hookkeeper.services.schedules.fields import NewSchedule
from hookkeeper.services.webhooks.fields import STEPS, NewWebhook, WebhookView
from instances import Instance
from receivers import Answer, Receiver

EMAIL = {"to": ["Ann <ann@acme.example>", "b@acme.example"], "subject": "Order", "tracking": True}
NOTIFICATION = {"http": {"method": "PUT", "url": "https://api.example/notes", "headers": {"x-key": "k"}}}
VALUES: dict[str, Any] = {
    "name": "Shop",
    "uid": "shop-orders",
    "description": "Two\nlines",
    "url": "http://127.0.0.1:9000/hook",
    "events": ["order.*", "invoice.paid"],
    "channels": ["project_1", "project_2"],
    "filter": "event.data.n > 0",
    "payload": {"format": "cloudevents", "static": {"shop": "berlin"}},
    "emails": [EMAIL],
    "notifications": [NOTIFICATION, NOTIFICATION],
    "on_failure": {"emails": [EMAIL]},
    "headers": {"x-token": "secret", "x-other": "b"},
    "tls": {"ca": Authority().pem},
    "retry": {"schedule": [5, 300, 5400]},
    "timeout": 7.5,
    "rate_limit": 0.5,
    "ordered": {"key": "event.data.customer_id"},
    "order_policy": "skip",
    "alert_after": {"attempts": 3, "seconds": 120},
    "slow_after": 6.5,
    "disable_after": 432_000,
    "enabled": False,
    "metadata": {"team": "shop", "url": "https://acme.example/a"},
    "tenant": "acme",
    "secret": new_secret("v1a"),
    "signature_scheme": "v1a",
}
"""Each field, with another value than its default."""
OPTIONS = {path: field for path, field in by_path(NewWebhook).items() if "*" not in path}


def test_each_field_is_in_one_step_and_tried_here() -> None:
    assert sorted(name for names in STEPS.values() for name in names) == sorted(NewWebhook.model_fields)
    assert {name for name, field in fields_of(NewWebhook).items() if VALUES[name] != field.default} == VALUES.keys()


@pytest.mark.parametrize("model", [NewWebhook, NewSchedule])
def test_each_field_is_in_the_openapi_document_with_its_words(instance: Instance, model: Any) -> None:
    properties = instance.app.openapi()["components"]["schemas"][model.__name__]["properties"]
    assert properties.keys() == model.model_fields.keys()
    for name, field in fields_of(model).items():
        assert " ".join(properties[name].get("description", "").split()) == field.help
    shown = instance.app.openapi()["components"]["schemas"]["WebhookView"]
    assert set(shown["required"]) == shown["properties"].keys() == WebhookView.model_fields.keys()


@pytest.mark.parametrize(("resource", "model"), [("webhooks", NewWebhook), ("schedules", NewSchedule)])
def test_each_field_is_an_option_with_its_help(resource: str, model: Any) -> None:
    text = CliRunner().invoke(app, [resource, "create", "--help"], env={"COLUMNS": "400"}).output
    for path, field in by_path(model).items():
        if "*" not in path and (field.codec or field.is_list):
            assert f"--{path.replace('.', '-').replace('_', '-')} " in text
            assert field.help in text


async def test_a_webhook_is_the_same_through_the_api_and_the_form(idle_instance: Instance) -> None:
    """Proves: the form has each field with its label and help; what it sends is what the API has, and it shows that."""
    values = VALUES | {"tenant": idle_instance.tenant}
    given = (await idle_instance.http.post("/v1/webhooks", json=values)).json()
    async with browsing(idle_instance.app) as browser:
        page = Page((await browser.get("/webhooks/new")).text)
        names = {has.get("name") for tag, has in page.tags if tag in ("input", "textarea", "select")}
        assert names >= {path.replace("*", "0") for path, field in by_path(NewWebhook).items() if field.codec}
        for field in by_path(NewWebhook).values():
            assert field.title.removesuffix("s") in page.text
            assert field.help.replace("`", "") in page.text
        texts = write_fields(NewWebhook, values | {"uid": "from-the-form"})
        sent = await browser.submit("/webhooks/new", "/webhooks/new", **texts)
        assert sent.status_code == 303, sent.text.partition('role="alert"')[2][:500]
        path = f"{sent.headers['location'].partition('?')[0]}/edit"
        form = Form((await browser.get(path)).text, path).fields
        assert (await browser.submit(path, path, **form)).status_code == 303
    listed = (await idle_instance.http.get(f"/v1/webhooks?tenant={idle_instance.tenant}")).json()["items"]
    own = {"id", "uid", "created_at", "updated_at", "disabled_at", "secret", "public_key"}
    first, second = [{name: value for name, value in each.items() if name not in own} for each in listed]
    assert first == second == {name: value for name, value in given.items() if name not in own}
    assert given["payload"] == VALUES["payload"] | {"template": None, "content_type": "application/json"}


async def test_the_settings_of_a_webhook_have_each_field(idle_instance: Instance) -> None:
    """Each with its label, its help and its value, in the words of the form; secrets are masked."""
    values = VALUES | {"tenant": idle_instance.tenant}
    made = (await idle_instance.http.post("/v1/webhooks", json=values)).json()
    plain = await idle_instance.webhook("http://127.0.0.1:9000/")
    async with browsing(idle_instance.app) as browser:
        text = (await browser.page(f"/webhooks/{made['id']}/settings")).text
        unset = (await browser.page(f"/webhooks/{plain['id']}/settings")).text
    for name, field in fields_of(NewWebhook).items():
        if name != "secret":
            assert field.title in text
            assert field.title in unset
            assert field.help.replace("`", "") in text
    shown = write_fields(NewWebhook, made | {"tenant": idle_instance.tenant})
    in_words = {"secret", "retry.schedule", "timeout", "slow_after", "disable_after", "enabled", "order_policy"}
    for path, value in shown.items():
        if path not in in_words:
            assert value in text, path
    for words in ("4 attempts: at once, then after 5 s, 5 min, 1.5 h.", "7.5 s", "from 6.5 s", "after 5 d", "skip"):
        assert words in text
    assert "10 attempts: at once, then after 5 s, 5 min, 30 min" in unset
    assert "(the default)" in unset
    assert values["secret"] not in text
    assert "Notification 2, " in text


async def test_options_send_what_they_say(inbox: Receiver) -> None:
    inbox.otherwise = Answer(201, "{}")
    arguments, texts = [], write_fields(NewWebhook, VALUES)
    for path, field in OPTIONS.items():
        option = f"--{path.replace('.', '-').replace('_', '-')}"
        if field.is_list:
            first, _, last = path.rpartition(".")
            items = (VALUES[first] if first else VALUES).get(last, ())
            arguments += [part for item in items for part in (option, json.dumps(item))]
        elif field.is_flag:
            arguments.append(option if VALUES[path] else option.replace("--", "--no-"))
        elif field.codec and path in texts:
            lines = texts[path].split("\n") if field.codec.can_repeat else [texts[path]]
            arguments += [part for line in lines for part in (option, line)]
    command = (sys.executable, "-m", "hookkeeper", "webhooks", "create", "--json", *arguments)
    env = os.environ | {"HOOKKEEPER_URL": inbox.url.removesuffix("/hook")}
    assert await (await asyncio.create_subprocess_exec(*command, env=env)).wait() == 0
    assert json.loads(inbox.requests[0].body) == VALUES
