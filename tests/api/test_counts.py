"""Too many members are refused before each of them is validated: their errors would hold the event loop."""

from typing import Any

import pytest
from pydantic import ValidationError

from hookkeeper.services.events.recoveries import RecoveryRequest
from hookkeeper.services.schedules.fields import NewSchedule
from hookkeeper.services.tenants.keys import NewKey
from hookkeeper.services.webhooks.fields import NewWebhook

MANY = [1] * 19_000
OBJECT = {f"x{n}": 1 for n in range(19_000)}
EMAIL = {"to": ["ann@acme.example"]}
CALL = {"url": "https://acme.example/hook"}
URL = "https://acme.example/hook"

WEBHOOKS: list[tuple[dict[str, Any], str]] = [
    ({"url": URL, "events": MANY}, "events"),
    ({"url": URL, "headers": OBJECT}, "headers"),
    ({"url": URL, "metadata": OBJECT}, "metadata"),
    ({"url": URL, "payload": OBJECT}, "payload"),
    ({"url": URL, "retry": {"schedule": MANY}}, "retry"),
    ({"url": URL, "retry": OBJECT}, "retry"),
    ({"url": URL, "tls": OBJECT}, "tls"),
    ({"emails": MANY}, "emails"),
    ({"emails": [EMAIL | {"cc": MANY}]}, "emails"),
    ({"emails": [EMAIL | {"categories": MANY}]}, "emails"),
    ({"emails": [OBJECT]}, "emails"),
    ({"notifications": MANY}, "notifications"),
    ({"notifications": [{"http": CALL | {"headers": OBJECT}}]}, "notifications"),
    ({"notifications": [{"http": OBJECT}]}, "notifications"),
    ({"url": URL, "on_failure": {"emails": [EMAIL | {"bcc": MANY}]}}, "on_failure"),
    ({"url": URL, "on_failure": {"notifications": [OBJECT]}}, "on_failure"),
]


@pytest.mark.parametrize(("fields", "name"), WEBHOOKS)
def test_too_many_members_of_a_webhook_are_one_error(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        NewWebhook.model_validate(fields)
    assert [error["loc"] for error in refusal.value.errors()] == [(name,)]


def test_too_many_members_of_keys_recoveries_and_schedules_are_one_error() -> None:
    for model, fields, name in (
        (NewKey, {"name": "x", "tenant": None, "scopes": MANY}, "scopes"),
        (RecoveryRequest, {"since": "2026-01-02T03:04:05Z", "types": MANY}, "types"),
        (NewSchedule, {"event": {"type": "a"}, "cron": MANY}, "cron"),
    ):
        with pytest.raises(ValidationError) as refusal:
            model.model_validate(fields)
        assert [error["loc"] for error in refusal.value.errors()] == [(name,)]


def test_members_up_to_the_limit_are_validated_one_by_one() -> None:
    with pytest.raises(ValidationError) as refusal:
        NewWebhook.model_validate({"url": URL, "events": [1] * 100, "emails": [EMAIL | {"cc": [1] * 50}]})
    assert len(refusal.value.errors()) == 150


def test_members_of_a_static_payload_are_not_counted() -> None:
    webhook = NewWebhook.model_validate({"url": URL, "payload": {"static": {f"x{n}": n for n in range(1_000)}}})
    assert webhook.payload is not None
    assert len(webhook.payload.static) == 1_000
