"""Translations of `hookkeeper import`: objects of Svix and Convoy as requests of ours, and what is lost."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cli.console import Failed
from extensions.importing import from_convoy, from_svix

Json = dict[str, Any]
KEY = "whsec_" + base64.b64encode(bytes(24)).decode()
APPLICATION = {"id": "app_1", "uid": "acme", "name": "Acme", "metadata": {}}
TYPE = {"name": "order.paid", "description": "Paid", "deprecated": False}
ENDPOINT: Json = {"id": "ep_1", "uid": None, "url": "https://acme.example/hook", "description": "", "metadata": {}}
JSON_ALONE: Json = {"format": "svix", "static": {}, "template": None, "content_type": "application/json"}
WEBHOOK = {
    "tenant": "acme",
    "uid": "ep_1",
    "url": "https://acme.example/hook",
    "description": "",
    "events": ["*"],
    "channels": [],
    "headers": {},
    "rate_limit": None,
    "enabled": True,
    "metadata": {},
    "payload": JSON_ALONE,
    "timeout": 30.0,
    "secret": KEY,
}
NOT_A_TYPE = "must be an event type such as `order.paid`, a group of them such as `order.*`, or `*`"


def copied(fields: Json) -> Json:
    """Return the fields without those that are left out."""
    return {name: value for name, value in fields.items() if value is not ...}


@pytest.mark.parametrize(
    ("given", "changed", "losses"),
    [
        ({}, {}, ()),
        ({"uid": None}, {"id": "app_1"}, ()),
        ({"uid": "a.b"}, {"id": "app_1"}, ("the uid 'a.b' cannot be kept, the id is app_1",)),
        (
            {"throttleRate": 5},
            {},
            ("throttleRate 5: deliveries of a tenant have no common limit, set rate_limit of its webhooks",),
        ),
        (
            {"rateLimit": 5},
            {},
            ("throttleRate 5: deliveries of a tenant have no common limit, set rate_limit of its webhooks",),
        ),
        ({"region": "eu", "metadata": None}, {"metadata": {}}, ("region: has no counterpart",)),
        (
            {"metadata": {"a": "b", "c": "d" * 513}},
            {"metadata": {"a": "b"}},
            ("metadata.c: String should have at most",),
        ),
    ],
)
def test_an_application_of_svix_is_a_tenant(given: Json, changed: Json, losses: tuple[str, ...]) -> None:
    item = from_svix.tenant_of(APPLICATION | given)
    assert item.body == {"id": "acme", "name": "Acme", "metadata": {}} | changed
    assert len(item.losses) == len(losses)
    assert all(map(str.startswith, item.losses, losses))


def test_a_name_that_cannot_be_shown_is_left_out() -> None:
    item = from_svix.tenant_of(APPLICATION | {"name": "Acme\nLtd"})
    assert item.body == {"id": "acme", "metadata": {}}
    assert item.losses[0].startswith("name: must be one line")


@pytest.mark.parametrize(
    ("given", "changed", "losses"),
    [
        ({}, {}, ()),
        ({"archived": True}, {"archived": True}, ()),
        ({"schemas": {"1": {"type": "object", "examples": [1]}}}, {"schema": {"type": "object", "examples": [1]}}, ()),
        (
            {"schemas": {"9": {}, "10": {"type": "object"}}},
            {"schema": {"type": "object"}},
            ("schemas: version 10 is copied, without 9",),
        ),
        (
            {"schemas": {"1": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}}},
            {"schema": {"type": "object"}},
            ("schema: it is read as JSON Schema 2020-12 instead of http://json-schema.org/draft-07/schema#",),
        ),
        (
            {"featureFlag": "beta", "deprecated": True},
            {},
            ("deprecated: has no counterpart", "featureFlag: has no counterpart"),
        ),
    ],
)
def test_an_event_type_of_svix_has_its_latest_schema(given: Json, changed: Json, losses: tuple[str, ...]) -> None:
    item = from_svix.event_type_of(TYPE | given)
    whole: Json = {"name": "order.paid", "description": "Paid", "schema": None, "examples": [], "archived": False}
    examples = {"examples": (changed.get("schema") or {}).get("examples", [])}
    assert (item.body, item.losses) == (whole | changed | examples, losses)


@pytest.mark.parametrize(
    ("given", "changed", "losses"),
    [
        ({}, {}, ()),
        ({"uid": "shop"}, {"uid": "shop"}, ()),
        ({"uid": "a.b"}, {}, ("the uid 'a.b' cannot be kept, the id is ep_1",)),
        ({"uid": "wh_1"}, {}, ("the uid 'wh_1' cannot be kept, the id is ep_1",)),
        ({"disabled": True, "throttleRate": 5}, {"enabled": False, "rate_limit": 5.0}, ()),
        ({"filterTypes": ["a.b"], "rateLimit": 5, "version": 1}, {"events": ["a.b"], "rate_limit": 5.0}, ()),
        ({"transformation": "x"}, {}, ("transformation: has no counterpart",)),
        ({"throttleRate": 2000}, {"rate_limit": ...}, ("rate_limit: Input should be less than or equal to 1000",)),
        (
            {"eventTypes": ["order.paid", "a..b"], "channels": ["x"]},
            {"events": ["order.paid"], "channels": ["x"]},
            (f"events 'a..b': {NOT_A_TYPE}",),
        ),
    ],
)
def test_an_endpoint_of_svix_is_a_webhook(given: Json, changed: Json, losses: tuple[str, ...]) -> None:
    item = from_svix.webhook_of("acme", ENDPOINT | given, {"headers": {}, "sensitive": []}, KEY)
    assert (item.body, item.losses) == (copied(WEBHOOK | changed), losses)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"url": "ftp://acme.example"}, "url: must start with"),
        ({"eventTypes": ["a..b"]}, "events 'a..b': must be"),
        ({"channels": ["a..b"]}, "channels 'a..b': must be"),
        ({"eventTypes": [f"n{n}" for n in range(101)]}, "events: "),
    ],
)
def test_an_endpoint_that_would_get_other_events_is_not_copied(given: Json, reason: str) -> None:
    item = from_svix.webhook_of("acme", ENDPOINT | given, {"headers": {}, "sensitive": []}, KEY)
    assert item.body is None
    assert item.losses[-1].startswith(reason)


@pytest.mark.parametrize(
    ("key", "secret", "once"),
    [
        (KEY, KEY, {}),
        (KEY.removeprefix("whsec_"), KEY, {}),
        ("whpk_AAAA", None, {"signature_scheme": "v1a", "enabled": False}),
        ("whsec_" + base64.b64encode(bytes(75)).decode(), None, {"enabled": False}),
    ],
)
def test_a_webhook_without_its_secret_waits_until_the_receiver_has_a_new_one(
    key: str, secret: str | None, once: Json
) -> None:
    item = from_svix.webhook_of("acme", ENDPOINT, {"headers": {}, "sensitive": []}, key)
    assert item.body
    assert (item.body.get("secret"), item.once) == (secret, once)
    assert len(item.losses) == bool(once)
    assert key not in " ".join(item.losses)


def test_headers_that_cannot_be_set_are_named_without_their_values() -> None:
    headers = {"headers": {"cookie": "secret=1", "x-shop": "a"}, "sensitive": ["authorization"]}
    item = from_svix.webhook_of("acme", ENDPOINT, headers, KEY)
    assert item.body == WEBHOOK | {"headers": {"x-shop": "a"}}
    assert (item.hidden, item.losses) == (
        ("authorization",),
        (
            "headers: cookie is set by Hookkeeper or by HTTP itself",
            "header authorization: Svix does not show its value, set it here",
        ),
    )


OF_CONVOY = {
    "uid": "01END",
    "project_id": "01PRJ",
    "owner_id": "acme",
    "url": "https://acme.example/hook",
    "name": "Shop",
    "description": "Orders",
    "secrets": [
        {"uid": "1", "value": "an older secret of Convoy", "expires_at": "2026-01-02T03:04:05Z"},
        {"uid": "2", "value": "a secret of 25 characters", "expires_at": None},
    ],
    "status": "active",
    "http_timeout": 0,
    "rate_limit": 0,
    "rate_limit_duration": 0,
    "authentication": None,
    "content_type": "application/json",
}
SUBSCRIPTION = {
    "uid": "01SUB",
    "name": "Orders",
    "type": "api",
    "endpoint_metadata": {"uid": "01END"},
    "filter_config": {"event_types": ["order.paid"], "filter": {"body": {}, "headers": {}, "is_flattened": False}},
    "delivery_mode": "at_least_once",
    "alert_config": {"count": 0, "threshold": ""},
}
FILTER = {"subscription_id": "01SUB", "event_type": "order.paid", "enabled_at": "2026-01-02T03:04:05Z"}
FORM = {
    "format": "standard",
    "static": {},
    "template": "{{ event.data }}",
    "content_type": "application/x-www-form-urlencoded",
}


@pytest.mark.parametrize(
    ("endpoint", "subscription", "changed", "losses"),
    [
        ({}, {}, {}, ()),
        ({"owner_id": ""}, {}, {"tenant": "01PRJ"}, ()),
        ({"status": "inactive"}, {}, {"enabled": False}, ()),
        ({"http_timeout": 60}, {}, {"timeout": ...}, ("timeout: Input should be less than or equal to 30",)),
        ({"rate_limit": 30, "rate_limit_duration": 60}, {}, {"rate_limit": 0.5}, ()),
        ({"content_type": FORM["content_type"]}, {}, {"payload": FORM}, ()),
        (
            {"authentication": {"type": "api_key", "api_key": {"header_name": "x-key", "header_value": "v"}}},
            {},
            {"headers": {"x-key": "v"}},
            (),
        ),
        (
            {"authentication": {"type": "basic_auth", "basic_auth": {"username": "a", "password": "[REDACTED]"}}},
            {},
            {},
            ("authentication: basic_auth not copied, set a header",),
        ),
        ({"support_email": "a@b.example"}, {}, {}, ("support_email: not copied, set on_failure",)),
        ({"mtls_client_cert": {"client_cert": "…"}}, {}, {}, ("mtls_client_cert: not copied, set tls",)),
        ({}, {"delivery_mode": "at_most_once"}, {"retry": {"schedule": []}}, ()),
        (
            {},
            {"retry_config": {"type": "linear", "duration": 10, "retry_count": 3}},
            {"retry": {"schedule": [10, 10, 10]}},
            (),
        ),
        (
            {},
            {"retry_config": {"type": "exponential", "duration": 10, "retry_count": 3}},
            {"retry": {"initial": 10, "coefficient": 2, "maximum": 7200, "attempts": 4}},
            (),
        ),
        ({}, {"filter_config": {"event_types": ["*"], "filter": {}}}, {"events": ["*"]}, ()),
        (
            {},
            {"function": "transform()"},
            {},
            ("function: not translated, set payload.template, then enable the webhook",),
        ),
    ],
)
def test_a_subscription_of_convoy_is_a_webhook(
    endpoint: Json, subscription: Json, changed: Json, losses: tuple[str, ...]
) -> None:
    item = from_convoy.webhook_of(SUBSCRIPTION | subscription, OF_CONVOY | endpoint, [FILTER])
    webhook = {
        "tenant": "acme",
        "uid": "01SUB",
        "name": "Orders",
        "description": "Orders",
        "url": "https://acme.example/hook",
        "events": ["order.paid"],
        "headers": {},
        "rate_limit": None,
        "timeout": 10.0,
        "retry": None,
        "enabled": True,
        "payload": JSON_ALONE,
        "secret": "whsec_" + base64.b64encode(b"a secret of 25 characters").decode(),
    }
    assert (item.body, item.losses) == (copied(webhook | changed), losses)
    assert item.once == ({"enabled": False} if "function" in subscription else {})


@pytest.mark.parametrize(
    ("subscription", "filters", "reason"),
    [
        ({"filter_config": {"event_types": ["*"], "filter": {"body": {"amount": 1}}}}, [], "filter of body: "),
        ({}, [{"subscription_id": "01SUB", "event_type": "order.paid", "headers": {"a": "b"}}], "filter of headers: "),
        ({}, [{"subscription_id": "01SUB", "event_type": "order.paid", "enabled_at": None}], "events: "),
        ({"filter_config": {"event_types": ["a b"], "filter": {}}}, [], "events 'a b': "),
        ({"type": "incoming", "source_metadata": {"uid": "01SRC"}}, [], "source_metadata: "),
    ],
)
def test_a_subscription_that_would_get_other_events_is_not_copied(
    subscription: Json, filters: list[Json], reason: str
) -> None:
    item = from_convoy.webhook_of(SUBSCRIPTION | subscription, OF_CONVOY, filters)
    assert item.body is None
    assert item.losses[-1].startswith(reason)


def test_a_subscription_whose_filters_were_not_saved_says_so() -> None:
    assert from_convoy.webhook_of(SUBSCRIPTION, OF_CONVOY, [FILTER]).losses == ()
    (loss,) = from_convoy.webhook_of(SUBSCRIPTION, OF_CONVOY, []).losses
    assert loss.startswith("filters: no file has them")


def answer(folder: Path, name: str, data: Any) -> Path:
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"status": True, "message": "…", "data": data}))
    return file


def test_pages_of_convoy_are_read_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    endpoints = [OF_CONVOY, OF_CONVOY | {"uid": "01ALONE", "owner_id": "beta"}]
    pages = [
        answer(tmp_path, str(n), {"content": [row], "pagination": {"has_next_page": n == 0}})
        for n, row in enumerate(endpoints)
    ]
    types = answer(tmp_path, "types", [{"name": "*", "json_schema": {}}, {"name": "order.paid", "json_schema": {}}])
    lost = SUBSCRIPTION | {"uid": "01LOST", "endpoint_metadata": {"uid": "01GONE"}}
    subscriptions = answer(tmp_path, "subscriptions", {"content": [SUBSCRIPTION, lost], "pagination": None})
    items = [item for each in from_convoy.items_of([*pages, types, subscriptions]) for item in each]
    assert [(item.label, item.body is not None) for item in items] == [
        ("event type order.paid", True),
        ("owner acme", True),
        ("owner beta", True),
        ("subscription 01LOST", False),
        ("endpoint 01ALONE", False),
        ("subscription 01SUB of acme", True),
    ]
    with pytest.raises(Failed, match="the last page of kind 'endpoint' is missing"):
        from_convoy.items_of(pages[:1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"status": false, "message": "Unauthorized"}', "is an error of Convoy: Unauthorized"),
        ("{}", "is no answer of Convoy"),
        ('{"data": {"message": "x"}}', "is no answer of Convoy"),
        ("null", "is no answer of Convoy"),
        ('[{"id": 1}]', "has a row that is no endpoint"),
        ('["endpoint"]', "has a row that is no endpoint"),
        ("<html>", "is not JSON"),
    ],
)
def test_a_file_that_has_no_rows_of_convoy_is_an_error(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "saved.json").write_text(text)
    with pytest.raises(Failed, match=reason):
        from_convoy.items_of([tmp_path / "saved.json"])


def test_an_empty_list_of_convoy_is_an_answer(tmp_path: Path) -> None:
    assert from_convoy.items_of([answer(tmp_path, "filters", None)]) == []
