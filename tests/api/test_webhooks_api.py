"""Webhooks over HTTP: register, list, change, remove; their secrets; a test delivery."""

import json
import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from problems import problem
from standardwebhooks import Webhook, WebhookVerificationError
from temporalio.client import Client

import worker
from hookkeeper.crypto.signing_keys import Scheme, new_secret, public_key
from instances import Instance, running_instance
from receivers import Receiver, Request, receiver

URL = "https://acme.example/hook"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SHOWN = {
    "id",
    "tenant",
    "uid",
    "name",
    "description",
    "url",
    "events",
    "channels",
    "filter",
    "filter_errors",
    "filter_error",
    "payload",
    "emails",
    "notifications",
    "on_failure",
    "headers",
    "tls",
    "signature_scheme",
    "retry",
    "timeout",
    "rate_limit",
    "ordered",
    "order_policy",
    "paused_at",
    "alert_after",
    "slow_after",
    "disable_after",
    "health",
    "enabled",
    "disabled_reason",
    "disabled_at",
    "metadata",
    "created_at",
    "updated_at",
}


def signed_by(secret: str, request: Request) -> bool:
    """Tell whether one of the request's signatures was made with this `whsec_` key."""
    try:
        Webhook(secret).verify(request.body.decode(), request.headers)
    except WebhookVerificationError:
        return False
    return True


async def show(instance: Instance, webhook_id: str) -> dict[str, Any]:
    answer = await instance.http.get(f"/v1/webhooks/{webhook_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def change(instance: Instance, webhook_id: str, **fields: Any) -> dict[str, Any]:
    answer = await instance.http.patch(f"/v1/webhooks/{webhook_id}", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def stored_headers(instance: Instance, webhook_id: str) -> dict[str, str]:
    stored = await instance.store.webhooks.get(webhook_id)
    assert stored is not None
    return stored.headers


# Create


async def test_a_webhook_needs_a_url_only(instance: Instance) -> None:
    answer = await instance.http.post("/v1/webhooks", json={"url": URL})
    assert answer.status_code == 201
    made = answer.json()
    assert re.fullmatch(r"wh_[0-9a-z]{12,32}", made.pop("id"))
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made.pop("secret"))
    assert TIME.fullmatch(made.pop("created_at"))
    assert TIME.fullmatch(made.pop("updated_at"))
    assert made == {
        "tenant": "default",
        "uid": None,
        "name": "",
        "description": "",
        "url": URL,
        "events": ["*"],
        "channels": [],
        "filter": None,
        "filter_errors": 0,
        "filter_error": None,
        "payload": None,
        "emails": [],
        "notifications": [],
        "on_failure": None,
        "headers": {},
        "tls": None,
        "signature_scheme": "v1",
        "public_key": None,
        "retry": None,
        "timeout": 15.0,
        "rate_limit": None,
        "ordered": False,
        "order_policy": "block",
        "paused_at": None,
        "alert_after": None,
        "slow_after": None,
        "disable_after": None,
        "health": {
            "status": "new",
            "failing_since": None,
            "failures": 0,
            "last_success_at": None,
            "slow_ms": None,
            "throttled_until": None,
            "failing": [],
        },
        "enabled": True,
        "disabled_reason": None,
        "disabled_at": None,
        "metadata": {},
    }


async def test_a_webhook_keeps_all_given_fields(instance: Instance) -> None:
    given: dict[str, Any] = {
        "url": f"{URL}?key=1",
        "name": "Orders 😀",
        "description": "two\nlines",
        "events": ["order.*", "invoice.paid"],
        "retry": {"schedule": [5, 300]},
        "timeout": 3.5,
        "rate_limit": 2.5,
        "ordered": True,
        "order_policy": "skip",
        "alert_after": {"attempts": 3, "seconds": 60.0},
        "slow_after": 5.0,
        "disable_after": 3600.0,
        "enabled": False,
        "metadata": {"team": "ö"},
    }
    made = await instance.webhook(**given)
    shown = await show(instance, made["id"])
    assert {name: shown[name] for name in given} == given
    assert shown == {name: made[name] for name in SHOWN}


@pytest.mark.parametrize("policy", [{"schedule": []}, {"initial": 1.5, "attempts": 3}, {"coefficient": 10}, {}])
async def test_a_retry_policy_is_shown_as_it_was_given(instance: Instance, policy: dict[str, Any]) -> None:
    made = await instance.webhook(URL, retry=policy)
    assert made["retry"] == policy
    assert (await show(instance, made["id"]))["retry"] == policy


async def test_a_webhook_signs_with_a_given_secret(instance: Instance, inbox: Receiver) -> None:
    secret = new_secret("v1")
    made = await instance.webhook(inbox.url, secret=secret)
    assert made["secret"] == secret
    await instance.send()
    (request,) = await inbox.got(1)
    assert signed_by(secret, request)


@pytest.mark.parametrize("given", [True, False])
async def test_an_ed25519_webhook_shows_the_key_that_verifies(instance: Instance, inbox: Receiver, given: bool) -> None:
    secret = new_secret("v1a")
    fields: dict[str, Any] = {"secret": secret} if given else {"signature_scheme": "v1a"}
    made = await instance.webhook(inbox.url, **fields)
    assert (made["signature_scheme"], made["public_key"]) == ("v1a", public_key(made["secret"]))
    assert (made["secret"] == secret) is given
    shown = (await instance.http.get(f"/v1/webhooks/{made['id']}/secret")).json()
    assert shown == {
        "secret": made["secret"],
        "public_key": made["public_key"],
        "previous_secret_expires_at": None,
    }

    await instance.send()
    (request,) = await inbox.got(1)
    version, _, signature = request.headers["webhook-signature"].partition(",")
    assert version == "v1a"
    signed = b".".join([request.webhook_id.encode(), request.headers["webhook-timestamp"].encode(), request.body])
    key = Ed25519PublicKey.from_public_bytes(b64decode(made["public_key"].removeprefix("whpk_")))
    key.verify(b64decode(signature), signed)  # raises where it does not


@pytest.mark.parametrize(("scheme", "of_key"), [("v1", "v1a"), ("v1a", "v1")])
async def test_a_secret_of_another_scheme_is_refused(idle_instance: Instance, scheme: Scheme, of_key: Scheme) -> None:
    secret = new_secret(of_key)
    answer = await idle_instance.http.post(
        "/v1/webhooks", json={"url": URL, "signature_scheme": scheme, "secret": secret}
    )
    problem(answer, 422, "secret")
    assert secret not in answer.text
    assert await everything(idle_instance) == []


# Secrets


@pytest.mark.promise("docs/api.md")
async def test_only_creation_and_rotation_show_a_secret(instance: Instance) -> None:
    made = await instance.webhook(URL, headers={"authorization": "Bearer header-secret"})
    path = f"/v1/webhooks/{made['id']}"
    answers = [
        await instance.http.get(path),
        await instance.http.get("/v1/webhooks"),
        await instance.http.patch(path, json={"name": "new"}),
        await instance.http.post(f"{path}/test"),
    ]
    for answer in answers:
        assert answer.is_success
        assert made["secret"] not in answer.text
        assert "header-secret" not in answer.text
    assert "header-secret" not in json.dumps(made)
    assert made["headers"] == {"authorization": "********"}
    assert set(answers[0].json()) == set(answers[2].json()) == SHOWN
    assert (await instance.http.get(f"{path}/secret")).json()["secret"] == made["secret"]


@pytest.mark.promise("docs/api.md")
@pytest.mark.parametrize(("body", "grace"), [(None, 86400), ({}, 86400), ({"grace": 60}, 60)])
async def test_both_keys_sign_during_the_grace(instance: Instance, inbox: Receiver, body: Any, grace: int) -> None:
    made = await instance.webhook(inbox.url)
    before = datetime.now(UTC)
    answer = await instance.http.post(f"/v1/webhooks/{made['id']}/rotate-secret", json=body)
    assert answer.status_code == 200
    rotated = answer.json()
    expires = datetime.fromisoformat(rotated["previous_secret_expires_at"])
    assert timedelta(0) <= expires - before - timedelta(seconds=grace - 0.001) < timedelta(seconds=10)
    assert rotated["secret"] != made["secret"]
    assert (await instance.http.get(f"/v1/webhooks/{made['id']}/secret")).json() == rotated

    await instance.send()
    (request,) = await inbox.got(1)
    assert signed_by(made["secret"], request)
    assert signed_by(rotated["secret"], request)


@pytest.mark.promise("docs/api.md")
async def test_without_grace_the_old_key_signs_no_more(instance: Instance, inbox: Receiver) -> None:
    made = await instance.webhook(inbox.url)
    path = f"/v1/webhooks/{made['id']}/rotate-secret"
    await instance.http.post(path, json={"grace": 60})
    given = new_secret("v1")
    rotated = (await instance.http.post(path, json={"grace": 0, "secret": given})).json()
    assert rotated == {"secret": given, "public_key": None, "previous_secret_expires_at": None}

    await instance.send()
    (request,) = await inbox.got(1)
    assert signed_by(given, request)
    assert not signed_by(made["secret"], request)
    assert len(request.headers["webhook-signature"].split()) == 1


async def test_a_second_rotation_keeps_the_key_that_receivers_have(instance: Instance) -> None:
    """A repeated request would end it."""
    made = await instance.webhook(URL)
    path = f"/v1/webhooks/{made['id']}"
    given = {"secret": new_secret("v1")}
    first = await instance.http.post(f"{path}/rotate-secret", json=given)
    again = await instance.http.post(f"{path}/rotate-secret", json=given)
    assert (again.status_code, again.json()) == (200, first.json())
    refused = await instance.http.post(f"{path}/rotate-secret")
    assert refused.status_code == 409
    assert first.json()["previous_secret_expires_at"] in refused.json()["detail"]
    stored = await instance.store.webhooks.get(made["id"])
    assert stored
    assert (stored.secret, stored.previous_secret) == (given["secret"], made["secret"])
    await instance.http.post(f"{path}/rotate-secret", json={"secret": made["secret"]})
    stored = await instance.store.webhooks.get(made["id"])
    assert stored
    assert (stored.secret, stored.previous_secret) == (made["secret"], given["secret"])
    await instance.http.post(f"{path}/rotate-secret", json={"end_previous": True})
    stored = await instance.store.webhooks.get(made["id"])
    assert stored
    assert stored.previous_secret == made["secret"]


async def test_a_rotation_keeps_the_scheme(instance: Instance) -> None:
    made = await instance.webhook(URL, signature_scheme="v1a")
    rotated = (await instance.http.post(f"/v1/webhooks/{made['id']}/rotate-secret")).json()
    assert rotated["public_key"] == public_key(rotated["secret"]) != made["public_key"]


# List


async def everything(instance: Instance, **query: Any) -> list[dict[str, Any]]:
    """Walk through all pages."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        params = query | ({"cursor": cursor} if cursor else {})
        answer = await instance.http.get("/v1/webhooks", params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert set(page) == {"items", "next_cursor"}
        items += page["items"]
        if not (cursor := page["next_cursor"]):
            return items


@pytest.mark.promise("docs/api.md")
@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_pages_cover_all_exactly_once_newest_first(idle_instance: Instance, limit: int) -> None:
    made = [(await idle_instance.webhook(URL))["id"] for _ in range(7)]
    found = await everything(idle_instance, limit=limit)
    assert [webhook["id"] for webhook in found] == made[::-1]


async def test_a_page_of_large_webhooks_has_fewer_items(instance: Instance) -> None:
    text = json.dumps("x" * 60_000)
    calls = [{"http": {"url": URL, "body": text}}] * 3
    for _ in range(9):
        await instance.webhook(URL, payload={"template": text}, notifications=calls)
    sizes: list[int] = []
    cursor: str | None = None
    while not sizes or cursor:
        query: dict[str, Any] = {"tenant": instance.tenant, "limit": 100}
        query |= {"cursor": cursor} if cursor else {}
        answer = await instance.http.get("/v1/webhooks", params=query)
        assert len(answer.content) < 2**20 + 2**14
        sizes.append(len(answer.json()["items"]))
        cursor = answer.json()["next_cursor"]
    assert sizes == [4, 4, 1]


async def test_a_page_stays_where_it_was_when_a_webhook_is_added(idle_instance: Instance) -> None:
    made = [(await idle_instance.webhook(URL))["id"] for _ in range(4)]
    first = (await idle_instance.http.get("/v1/webhooks", params={"limit": 2})).json()
    await idle_instance.webhook(URL)
    second = (await idle_instance.http.get("/v1/webhooks", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [webhook["id"] for webhook in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None


async def test_webhooks_can_be_filtered_by_tenant_status_and_event_type(idle_instance: Instance) -> None:
    async def names(**query: Any) -> set[str]:
        return {webhook["name"] for webhook in await everything(idle_instance, limit=2, **query)}

    mine, other = idle_instance.tenant, f"{idle_instance.tenant}-other"
    await idle_instance.webhook(URL, name="orders", events=["order.*", "order.paid"])
    await idle_instance.webhook(URL, name="paid", events=["order.paid"], enabled=False)
    await idle_instance.webhook(URL, name="all")
    await idle_instance.webhook(URL, name="theirs", tenant=other)

    assert await names() == {"orders", "paid", "all", "theirs"}
    assert await names(tenant=mine) == {"orders", "paid", "all"}
    assert await names(tenant="unknown") == set()
    assert await names(event="order.paid") == {"orders", "paid", "all", "theirs"}
    assert await names(event="order.shipped", tenant=mine) == {"orders", "all"}
    assert await names(event="order", tenant=mine) == {"all"}
    assert await names(enabled="false") == {"paid"}
    assert await names(enabled="true", tenant=mine, event="order.paid") == {"orders", "all"}


# Change


CHANGES = {
    "name": "new",
    "description": "new",
    "url": "https://acme.example/new",
    "events": ["new.*"],
    "headers": {"x-new": "1"},
    "retry": {"initial": 1},
    "timeout": 1,
    "metadata": {"new": "1"},
}


@pytest.mark.promise("docs/api.md")
@pytest.mark.parametrize("field", CHANGES)
async def test_a_change_sets_only_the_given_fields(instance: Instance, field: str) -> None:
    made = await instance.webhook(
        URL, name="old", events=["old"], retry={"schedule": [1]}, headers={"x-old": "1"}, metadata={"old": "1"}
    )
    before = await show(instance, made["id"])
    after = await change(instance, made["id"], **{field: CHANGES[field]})
    assert after == await show(instance, made["id"])
    assert {name for name in after if after[name] != before[name]} == {field, "updated_at"}
    assert after[field] == ({"x-new": "********"} if field == "headers" else CHANGES[field])


async def test_a_retry_policy_can_be_reset_to_the_default(instance: Instance) -> None:
    made = await instance.webhook(URL, retry={"schedule": [1]})
    assert (await change(instance, made["id"], name="x"))["retry"] == {"schedule": [1]}
    assert (await change(instance, made["id"], retry=None))["retry"] is None
    assert (await show(instance, made["id"]))["retry"] is None


async def test_a_masked_header_keeps_its_stored_value(instance: Instance) -> None:
    made = await instance.webhook(URL, headers={"Authorization": "Bearer 1", "x-two": "2", "x-three": "3"})
    headers = made["headers"] | {"x-two": "new"}
    del headers["x-three"]
    await change(instance, made["id"], headers=headers)
    assert await stored_headers(instance, made["id"]) == {"Authorization": "Bearer 1", "x-two": "new"}

    await change(instance, made["id"], headers={"authorization": "********"})
    assert await stored_headers(instance, made["id"]) == {"authorization": "Bearer 1"}


async def test_a_mask_with_nothing_behind_it_is_refused(instance: Instance) -> None:
    masked = {"url": URL, "headers": {"authorization": "********"}}
    problem(await instance.http.post("/v1/webhooks", json=masked), 422, "headers")
    made = await instance.webhook(URL, headers={"x-one": "1"})
    problem(await instance.http.patch(f"/v1/webhooks/{made['id']}", json=masked), 422, "headers")
    assert await stored_headers(instance, made["id"]) == {"x-one": "1"}


async def test_a_disabled_webhook_shows_its_reason_and_time(instance: Instance) -> None:
    made = await instance.webhook(URL)
    disabled = await change(instance, made["id"], enabled=False)
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "manual")
    assert TIME.fullmatch(disabled["disabled_at"])
    enabled = await change(instance, made["id"], enabled=True)
    assert (enabled["enabled"], enabled["disabled_reason"], enabled["disabled_at"]) == (True, None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
        {"id": "wh_other"},
        {"signature_scheme": "v1a"},
        {"url": ""},
        {"name": None},
        {"events": []},
        {"timeout": None},
        {"enabled": None},
        {"headers": None},
        {"metadata": None},
    ],
    ids=str,
)
async def test_a_change_of_a_fixed_field_is_refused(instance: Instance, changes: dict[str, Any]) -> None:
    made = await instance.webhook(URL)
    before = await show(instance, made["id"])
    answer = await instance.http.patch(f"/v1/webhooks/{made['id']}", json={"description": "no", **changes})
    problem(answer, 422, *changes)
    assert await show(instance, made["id"]) == before


@pytest.mark.promise("docs/api.md")
async def test_secret_headers_stay_with_their_host(instance: Instance) -> None:
    """A key that may change a webhook, but not read its headers, cannot have them sent to another host."""
    made = await instance.webhook(URL, headers={"authorization": "Bearer secret"})
    path = f"/v1/webhooks/{made['id']}"
    for body in ({"url": "https://evil.example/"}, {"url": "http://acme.example/hook"}):
        problem(await instance.http.patch(path, json=body), 422, "headers")
        problem(await instance.http.patch(path, json={**body, "headers": made["headers"]}), 422, "headers")
    await change(instance, made["id"], url=f"{URL}/v2")
    assert await stored_headers(instance, made["id"]) == {"authorization": "Bearer secret"}
    await change(instance, made["id"], url="https://other.example/", headers={"authorization": "Bearer new"})
    assert await stored_headers(instance, made["id"]) == {"authorization": "Bearer new"}
    await change(instance, made["id"], url="https://third.example/", headers={})


async def test_a_change_that_leaves_no_target_is_refused(instance: Instance) -> None:
    path = f"/v1/webhooks/{(await instance.webhook(URL))['id']}"
    answer = await instance.http.patch(path, json={"url": None})
    assert "url, emails or notifications" in problem(answer, 422)["detail"]
    answer = await instance.http.patch(path, json={"url": None, "emails": [{"to": ["ann@acme.example"]}]})
    assert (answer.status_code, answer.json()["url"]) == (200, None)
    answer = await instance.http.patch(path, json={"emails": []})
    problem(answer, 422)


# Remove


@pytest.mark.promise("docs/api.md")
async def test_a_deleted_webhook_is_not_listed_and_gets_no_event(idle_instance: Instance) -> None:
    made, kept = await idle_instance.webhook(URL), await idle_instance.webhook(URL)
    path = f"/v1/webhooks/{made['id']}"
    answer = await idle_instance.http.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert [webhook["id"] for webhook in await everything(idle_instance)] == [kept["id"]]
    accepted = await idle_instance.send()
    assert [delivery["webhook_id"] for delivery in accepted["deliveries"]] == [kept["id"]]


@pytest.mark.parametrize(
    ("method", "suffix"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/secret"),
        ("POST", "/rotate-secret"),
        ("POST", "/test"),
    ],
)
async def test_an_unknown_webhook_is_answered_with_404(instance: Instance, method: str, suffix: str) -> None:
    json_ = {"headers": {"x-a": "1"}} if method == "PATCH" else None
    answer = await instance.http.request(method, f"/v1/webhooks/wh_unknown{suffix}", json=json_)
    problem(answer, 404)


# Test deliveries


@pytest.mark.promise("docs/api.md")
@pytest.mark.parametrize("enabled", [True, False])
async def test_a_test_event_goes_to_its_webhook_only(instance: Instance, inbox: Receiver, enabled: bool) -> None:
    async with receiver() as other:
        await instance.webhook(other.url)
        made = await instance.webhook(inbox.url, events=["order.*"], enabled=enabled)
        answer = await instance.http.post(f"/v1/webhooks/{made['id']}/test")
        assert answer.status_code == 202
        accepted = answer.json()
        assert (accepted["type"], accepted["tenant"], accepted["duplicate"]) == (
            "hookkeeper.test",
            instance.tenant,
            False,
        )
        assert [delivery["webhook_id"] for delivery in accepted["deliveries"]] == [made["id"]]

        event = await instance.until_final(accepted["id"])
        assert event["status"] == "succeeded"
        (request,) = inbox.requests
        assert signed_by(made["secret"], request)
        assert json.loads(request.body)["data"] == event["data"] == {"message": "This is a test."}
        assert other.requests == []
    assert (await show(instance, made["id"]))["enabled"] is enabled


async def test_a_test_event_can_have_its_own_type_and_data(instance: Instance, inbox: Receiver) -> None:
    made = await instance.webhook(inbox.url, events=["order.*"])
    sample = {"type": "invoice.paid", "data": [1, None]}
    first, second = [
        (await instance.http.post(f"/v1/webhooks/{made['id']}/test", json=sample)).json() for _ in range(2)
    ]
    assert first["id"] != second["id"]
    for request in await inbox.got(2):
        body = json.loads(request.body)
        assert {name: body[name] for name in sample} == sample


# Settings


async def test_an_http_url_is_refused_if_https_is_required(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, require_https=True) as instance:
        problem(await instance.http.post("/v1/webhooks", json={"url": "http://acme.example/"}), 422, "url")
        assert await everything(instance) == []
        made = await instance.webhook(URL)
        answer = await instance.http.patch(f"/v1/webhooks/{made['id']}", json={"url": "http://acme.example/"})
        problem(answer, 422, "url")
        assert (await show(instance, made["id"]))["url"] == URL
        assert (await change(instance, made["id"], name="untouched"))["url"] == URL


@pytest.mark.parametrize("url", ["http://acme.example/", "HTTP://acme.example/", "http://{{ event.data.host }}/"])
async def test_an_http_notification_is_refused_if_https_is_required(temporal: Client, tmp_path: Path, url: str) -> None:
    notifications = {"notifications": [{"http": {"url": url}}]}
    async with running_instance(temporal, tmp_path, require_https=True) as instance:
        problem(
            await instance.http.post("/v1/webhooks", json={"url": URL} | notifications), 422, "notifications.0.http.url"
        )
        answer = await instance.http.post("/v1/webhooks", json={"url": URL, "on_failure": notifications})
        problem(answer, 422, "on_failure.notifications.0.http.url")


async def test_a_stored_http_url_is_not_sent_to_if_https_is_required(
    temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was saved before, also for alerts; what a template makes, and what a service would use."""
    monkeypatch.setattr("activities.alerts.MAX_FAILED_TRIES", 1)
    host, port = urlsplit(inbox.url).hostname, urlsplit(inbox.url).port
    calls = [{"http": {"url": inbox.url}}, {"http": {"url": "{{ event.data.url }}"}}]
    async with running_instance(temporal, tmp_path) as instance:
        services = [{"service": f"ntfy://{host}:{port}/topic"}]
        alerts = {"notifications": calls[:1]}
        notifications = [*calls, *services]
        await instance.webhook(inbox.url, notifications=notifications, on_failure=alerts, retry={"schedule": []})
        strict = instance.settings.model_copy(update={"require_https": True})
        async with worker.running(instance.temporal, instance.store, strict):
            event = await instance.until_closed((await instance.send(data={"url": inbox.url}))["id"])
    assert [delivery["reason"] for delivery in event["deliveries"]] == ["forbidden_address"] * 4
    assert inbox.requests == []
