"""Each route of Svix's API with good and bad input, and who may call it. `test_svix_client.py` has a whole session.

A case names what it needs in braces: what `Acme` has, or a spare of it, which only that case uses up.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from callers import calling, make_key
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr
from standardwebhooks import Webhook as StandardWebhook
from svix.webhooks import Webhook
from temporalio.client import Client

from api.app import bare_app
from extensions.svix.errors import PREFIX
from hookkeeper.crypto.signing_keys import new_secret, public_key
from hookkeeper.registry.events import search as searching
from hookkeeper.settings import Settings
from hookkeeper.times import rfc3339, utc_now
from instances import KEY, Instance, running_instance
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT

SINCE = "2026-01-01 00:00:00.123456789 UTC"
"""As Rust writes it."""
HOUR_AGO = rfc3339(utc_now() - timedelta(hours=1))
SCHEMA = {"type": "object", "required": ["order"], "examples": [{"order": 1}]}
HEALTH = {"GET /health", "HEAD /health", "GET /health/ping", "HEAD /health/ping"}

GOOD: dict[str, tuple[dict[str, Any], int]] = {
    "GET /app": ({"params": {"limit": 1, "order": "descending"}}, 200),
    "POST /app": ({"json": {"name": "New", "uid": "new", "metadata": {"plan": "pro"}}}, 201),
    "GET /app/{app_id}": ({}, 200),
    "PUT /app/{app_id}": ({"json": {"name": "Acme"}}, 200),
    "PATCH /app/{app_id}": ({"json": {"metadata": {"plan": "pro"}}}, 200),
    "DELETE /app/{spare_app_id}": ({}, 204),
    "GET /app/{app_id}/endpoint": ({"params": {"order": "ascending"}}, 200),
    "POST /app/{app_id}/endpoint": (
        {"json": {"url": "https://acme.example", "eventTypes": ["order.paid", "new.*"], "disabled": True}},
        201,
    ),
    "GET /app/{app_id}/endpoint/{endpoint_id}": ({}, 200),
    "PUT /app/{app_id}/endpoint/{spare_endpoint_id}": ({"json": {"url": "https://acme.example/b", "uid": "b"}}, 200),
    "PATCH /app/{app_id}/endpoint/{endpoint_id}": ({"json": {"description": "Shop"}}, 200),
    "DELETE /app/{app_id}/endpoint/{used_endpoint_id}": ({}, 204),
    "GET /app/{app_id}/endpoint/{endpoint_id}/headers": ({}, 200),
    "PUT /app/{app_id}/endpoint/{endpoint_id}/headers": ({"json": {"headers": {"x-shop": "1"}}}, 204),
    "PATCH /app/{app_id}/endpoint/{endpoint_id}/headers": ({"json": {"headers": {"x-none": None}}}, 204),
    "GET /app/{app_id}/endpoint/{endpoint_id}/msg": ({"params": {"status": 0}}, 200),
    "POST /app/{app_id}/endpoint/{endpoint_id}/recover": ({"json": {"since": HOUR_AGO}}, 202),
    "GET /app/{app_id}/endpoint/{endpoint_id}/secret": ({}, 200),
    "POST /app/{app_id}/endpoint/{spare_endpoint_id}/secret/rotate": ({"json": {"gracePeriodSeconds": 0}}, 204),
    "POST /app/{app_id}/endpoint/{endpoint_id}/send-example": ({"json": {"eventType": "order.paid"}}, 200),
    "GET /app/{app_id}/endpoint/{endpoint_id}/stats": ({"params": {"since": SINCE}}, 200),
    "GET /app/{app_id}/attempt/endpoint/{endpoint_id}": ({"params": {"status_code_class": 200}}, 200),
    "GET /app/{app_id}/attempt/msg/{msg_id}": ({"params": {"endpoint_id": "shop", "after": SINCE}}, 200),
    "GET /app/{app_id}/msg": ({"params": {"event_types": "order.paid,order.sent", "channel": "eu"}}, 200),
    "POST /app/{app_id}/msg": ({"json": {"eventType": "order.paid", "payload": {"order": 2}}}, 202),
    "GET /app/{app_id}/msg/{msg_id}": ({"params": {"with_content": "false"}}, 200),
    "GET /app/{app_id}/msg/{msg_id}/attempt/{attempt_id}": ({}, 200),
    "DELETE /app/{app_id}/msg/{spare_msg_id}/content": ({}, 204),
    "GET /app/{app_id}/msg/{msg_id}/endpoint": ({}, 200),
    "POST /app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend": ({}, 202),
    "POST /auth/app-portal-access/{app_id}": ({"json": {"readOnly": True, "expiry": 3600}}, 200),
    "POST /auth/dashboard-access/{app_id}": ({}, 200),
    "POST /auth/logout": ({}, 204),
    "GET /event-type": ({"params": {"with_content": "true", "include_archived": "true"}}, 200),
    "POST /event-type": ({"json": {"name": "order.new", "description": "New", "schemas": {"1": SCHEMA}}}, 201),
    "GET /event-type/{event_type_name}": ({}, 200),
    "PUT /event-type/{spare_event_type_name}": ({"json": {"description": "Sent"}}, 200),
    "PATCH /event-type/{spare_event_type_name}": ({"json": {"archived": False}}, 200),
    "DELETE /event-type/{used_event_type_name}": ({"params": {"expunge": "true"}}, 204),
    **{route: ({}, 204) for route in sorted(HEALTH)},
}
"""The good input of each route, and its status. `expunge_attempt` has none: it refuses everything."""

BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("GET /app", {"params": {"limit": 251}}, 422, "limit"),
    ("GET /app", {"params": {"iterator": "made-up"}}, 422, "iterator"),
    ("POST /app", {"json": {"name": "Acme", "uid": "acme"}}, 409, "conflict"),
    ("POST /app", {"json": {"name": "Slow", "throttleRate": 5}}, 422, "throttleRate"),
    ("POST /app", {"json": {"name": "Dotted", "uid": "a.b"}}, 422, "uid"),
    ("POST /app", {"json": {}}, 422, "name"),
    ("GET /app/nobody", {}, 404, "not_found"),
    ("GET /app/%00", {}, 404, "not_found"),
    ("PUT /app/{app_id}", {"json": {"name": "Acme", "uid": "other"}}, 422, "uid"),
    ("PATCH /app/{app_id}", {"json": {"uid": "other"}}, 422, "uid"),
    ("PATCH /app/{app_id}", {"json": {"uid": None}}, 422, "uid"),
    ("DELETE /app/nobody", {}, 404, "not_found"),
    ("GET /app/nobody/endpoint", {}, 404, "not_found"),
    ("POST /app/{app_id}/endpoint", {"json": {"url": "ftp://acme.example"}}, 422, "url"),
    ("POST /app/{app_id}/endpoint", {"json": {"url": "https://a.example", "eventTypes": []}}, 422, "eventTypes"),
    ("PATCH /app/{app_id}/endpoint/{endpoint_id}", {"json": {"eventTypes": ["a.b"]}}, 422, "eventTypes"),
    ("POST /app/{app_id}/endpoint", {"json": {"url": "https://a.example", "channels": []}}, 422, "channels"),
    ("POST /app/{app_id}/endpoint", {"json": {"url": "https://a.example", "throttleRate": 2000}}, 422, "throttleRate"),
    ("POST /app/{app_id}/endpoint", {"json": {"url": "https://a.example", "secret": "short"}}, 422, "secret"),
    ("POST /app/{app_id}/endpoint", {"json": {"url": "https://a.example", "uid": "shop"}}, 409, "conflict"),
    ("GET /app/{app_id}/endpoint/nothing", {}, 404, "not_found"),
    ("PUT /app/{app_id}/endpoint/{endpoint_id}", {"json": {"uid": "shop"}}, 422, "url"),
    ("PATCH /app/{app_id}/endpoint/{endpoint_id}", {"json": {"channels": ["a b"]}}, 422, "channels"),
    ("DELETE /app/{app_id}/endpoint/nothing", {}, 404, "not_found"),
    ("GET /app/{app_id}/endpoint/nothing/headers", {}, 404, "not_found"),
    ("PUT /app/{app_id}/endpoint/{endpoint_id}/headers", {"json": {"headers": {"svix-id": "1"}}}, 422, "headers"),
    ("PATCH /app/{app_id}/endpoint/{endpoint_id}/headers", {"json": {"headers": {"host": "a"}}}, 422, "headers"),
    ("PUT /app/{app_id}/endpoint/{endpoint_id}/headers", {"json": {"headers": {"X-Amzn-A": "1"}}}, 422, "headers"),
    ("GET /app/{app_id}/endpoint/{endpoint_id}/msg", {"params": {"status": 9}}, 422, "status"),
    ("POST /app/{app_id}/endpoint/{endpoint_id}/recover", {"json": {"since": "yesterday"}}, 422, "since"),
    ("POST /app/{app_id}/endpoint/{endpoint_id}/recover", {"json": {"since": SINCE}}, 422, "since"),
    ("GET /app/{app_id}/endpoint/nothing/secret", {}, 404, "not_found"),
    ("POST /app/{app_id}/endpoint/{endpoint_id}/secret/rotate", {"json": {"key": "short"}}, 422, "key"),
    ("POST /app/{app_id}/endpoint/{endpoint_id}/send-example", {"json": {"eventType": "a..b"}}, 422, "eventType"),
    ("GET /app/{app_id}/endpoint/{endpoint_id}/stats", {"params": {"since": SINCE, "until": SINCE}}, 422, "since"),
    ("GET /app/{app_id}/attempt/endpoint/nothing", {}, 404, "not_found"),
    ("GET /app/{app_id}/attempt/endpoint/{endpoint_id}", {"params": {"iterator": "atmpt_1_a_b"}}, 422, "iterator"),
    ("GET /app/{app_id}/attempt/msg/nothing", {}, 404, "not_found"),
    ("GET /app/{app_id}/attempt/msg/{msg_id}", {"params": {"iterator": "atmpt_1_a_b"}}, 422, "iterator"),
    ("GET /app/{app_id}/attempt/msg/{msg_id}", {"params": {"status_code_class": 250}}, 422, "status_code_class"),
    ("GET /app/{app_id}/msg", {"params": {"before": "now"}}, 422, "before"),
    ("GET /app/{app_id}/msg", {"params": {"tag": "a"}}, 422, "tag"),
    ("POST /app/{app_id}/msg", {"json": {"eventType": "order.paid", "payload": [1]}}, 422, "payload"),
    ("POST /app/{app_id}/msg", {"json": {"eventType": "order.paid", "payload": {}, "tags": ["a"]}}, 422, "tags"),
    ("POST /app/{app_id}/msg", {"json": {"eventType": "a b", "payload": {}}}, 422, "eventType"),
    ("POST /app/{app_id}/msg", {"json": {"eventType": "a", "payload": {}, "eventId": "a.b"}}, 422, "eventId"),
    ("POST /app/{app_id}/msg", {"json": {"eventType": "order.paid", "payload": {"a": 1}}}, 422, "payload"),
    ("POST /app/{app_id}/msg", {"json": {"eventType": "a", "payload": {"n": 1}, "eventId": "m-1"}}, 409, "conflict"),
    ("POST /app/{app_id}/msg", {"content": b"{", "headers": {"content-type": "application/json"}}, 400, "malformed"),
    ("POST /app/nobody/msg", {"json": {"eventType": "a", "payload": {}}}, 404, "not_found"),
    ("GET /app/{app_id}/msg/nothing", {}, 404, "not_found"),
    ("GET /app/{app_id}/msg/{msg_id}/attempt/nothing", {}, 404, "not_found"),
    ("DELETE /app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content", {}, 422, "attempt_id"),
    ("DELETE /app/{app_id}/msg/nothing/content", {}, 404, "not_found"),
    ("GET /app/{app_id}/msg/nothing/endpoint", {}, 404, "not_found"),
    ("POST /app/{app_id}/msg/nothing/endpoint/{endpoint_id}/resend", {}, 404, "not_found"),
    ("POST /auth/app-portal-access/nobody", {}, 404, "not_found"),
    ("POST /auth/dashboard-access/nobody", {}, 404, "not_found"),
    ("POST /auth/app-portal-access/{app_id}", {"json": {"expiry": 604800}}, 422, "expiry"),
    ("GET /event-type", {"params": {"order": "random"}}, 422, "order"),
    ("POST /event-type", {"json": {"name": "order.paid", "description": ""}}, 409, "conflict"),
    ("POST /event-type", {"json": {"name": "a", "description": "", "schemas": {"1": {}, "2": {}}}}, 422, "schemas"),
    ("POST /event-type", {"json": {"name": "a", "description": "", "featureFlag": "beta"}}, 422, "featureFlag"),
    ("GET /event-type/nothing", {}, 404, "not_found"),
    ("PUT /event-type/{event_type_name}", {"json": {"description": "", "deprecated": True}}, 422, "deprecated"),
    ("PATCH /event-type/{event_type_name}", {"json": {"schemas": {"1": {"type": 5}}}}, 422, "schemas"),
    ("DELETE /event-type/nothing", {}, 404, "not_found"),
    ("POST /health", {}, 405, "method_not_allowed"),
    ("POST /health/ping", {}, 405, "method_not_allowed"),
]
"""A bad input of each route, its status, and the code of the error or the field that a validation error names."""


@dataclass
class Acme:
    """An application with an endpoint, a message that has arrived there, an event type, and spares."""

    instance: Instance
    inbox: Receiver
    names: dict[str, str]

    async def call(self, route: str, http: httpx.AsyncClient | None = None, **given: Any) -> httpx.Response:
        method, path = route.format(**self.names).split()
        return await (http or self.instance.http).request(method, PREFIX + path, **given)


@pytest.fixture(scope="module")
async def acme(temporal: Client, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Acme]:
    async with (
        running_instance(temporal, tmp_path_factory.mktemp("acme")) as instance,
        instance.working(),
        receiver() as inbox,
    ):
        made = Acme(instance, inbox, {"app_id": instance.tenant, "spare_app_id": "spare", "msg_id": "m-1"})
        for uid in (instance.tenant, "acme", "spare"):
            await _made(made, "POST /app", {"name": uid, "uid": uid})
        await _add_endpoint(made, "endpoint_id", "shop")
        for name, prefix in (("order.paid", ""), ("order.sent", "spare_"), ("order.lost", "used_")):
            await _made(made, "POST /event-type", {"name": name, "description": "", "schemas": {"1": SCHEMA}})
            made.names[f"{prefix}event_type_name"] = name
        for message in ({"eventId": "m-1", "channels": ["eu"]}, {"eventId": "m-2"}):
            await _made(made, "POST /app/{app_id}/msg", {"eventType": "order.paid", "payload": {"order": 1}, **message})
        made.names["spare_msg_id"] = "m-2"
        for event_id in ("m-1", "m-2"):
            await instance.until_final(event_id)
            await instance.until_closed(event_id)
        await _add_endpoint(made, "spare_endpoint_id", "b")
        await _add_endpoint(made, "used_endpoint_id", "c")
        made.names["attempt_id"] = (await made.call("GET /app/{app_id}/attempt/msg/m-1")).json()["data"][0]["id"]
        yield made


async def _add_endpoint(acme: Acme, name: str, uid: str) -> None:
    made = await _made(acme, "POST /app/{app_id}/endpoint", {"url": acme.inbox.url, "uid": uid})
    acme.names[name] = made["id"]


async def _made(acme: Acme, route: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await acme.call(route, json=body)
    if answer.status_code == 503 and "eventId" in body:  # a busy machine; with its id, it is one message
        answer = await acme.call(route, json=body)
    assert answer.is_success, answer.text
    return answer.json()  # type: ignore[no-any-return]


def _routes() -> set[str]:
    """Return the routes of Svix's API."""
    served = iter_route_contexts(bare_app(Settings(admin_key=SecretStr(KEY))).routes)
    return {
        f"{method} {context.path.removeprefix(PREFIX)}"
        for context in served
        if context.path and context.path.startswith(PREFIX)
        for method in context.methods or ()
    }


def _unnamed(route: str) -> str:
    return route.replace("{spare_", "{").replace("{used_", "{")


def test_each_route_has_a_good_and_a_bad_case() -> None:
    refuses_all = {"DELETE /app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content"}
    assert {_unnamed(route) for route in GOOD} | refuses_all == _routes()
    bad = {_pattern(route) for route, *_ in BAD}
    takes_all = HEALTH | {"POST /auth/logout"}
    assert bad == {_pattern(_unnamed(route)) for route in _routes() - takes_all} | {"POST /health", "POST /health/ping"}
    assert len(_routes() - {route for route in HEALTH if route.startswith("HEAD")}) == 42


def _pattern(route: str) -> str:
    """Return the route with stars in place of names and of wrong values."""
    for word in ("nobody", "nothing", "%00"):
        route = route.replace(f"/{word}", "/*")
    parts = route.split("/")
    return "/".join("*" if part.startswith("{") else part for part in parts)


@pytest.mark.parametrize("route", GOOD)
async def test_a_route_takes_good_input(acme: Acme, route: str) -> None:
    given, status = GOOD[route]
    answer = await acme.call(route, **given)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(("route", "given", "status", "blamed"), BAD)
async def test_a_route_refuses_bad_input_as_svix_does(
    acme: Acme, route: str, given: dict[str, Any], status: int, blamed: str
) -> None:
    answer = await acme.call(route, **given)
    assert answer.status_code == status, answer.text
    error = answer.json()
    if status != 422:
        assert (list(error), error["code"]) == (["code", "detail"], blamed)
        return
    (item, *_) = error["detail"]
    assert (sorted(item), item["loc"][1]) == (["loc", "msg", "type"], blamed)


async def test_no_route_is_open_without_a_key_or_to_another_application(acme: Acme) -> None:
    other = await make_key(acme.instance, "other")
    async with calling(acme.instance.app, None) as nobody, calling(acme.instance.app, other["key"]) as stranger:
        for route, (given, _) in GOOD.items():
            if route in HEALTH:
                continue
            answer = await acme.call(route, nobody, **given)
            assert (answer.status_code, answer.json()["code"]) == (401, "authentication_failed"), route
            answer = await acme.call(route, stranger, **given)
            if "app_id}" in route:
                assert answer.status_code in (403, 404), route
                assert "order" not in answer.text
        assert [each["id"] for each in (await stranger.get(f"{PREFIX}/app")).json()["data"]] == ["other"]


async def test_a_request_with_an_idempotency_key_makes_one_object(acme: Acme) -> None:
    key = {"idempotency-key": "a key"}
    for route, body in {
        "POST /app": {"name": "Without a uid"},
        "POST /app/{app_id}/endpoint": {"url": "https://acme.example/once", "disabled": True},
        "POST /app/{app_id}/msg": {"eventType": "order.paid", "payload": {"order": 3}},
    }.items():
        first, second = [await acme.call(route, json=body, headers=key) for _ in range(2)]
        assert first.is_success, first.text
        assert (first.status_code, first.json()["id"]) == (second.status_code, second.json()["id"])
    other = await acme.call("POST /app/{app_id}/msg", json={"eventType": "a", "payload": {}}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


async def test_clients_of_the_first_version_find_their_names(acme: Acme) -> None:
    names = {"filterTypes": ["order.paid"], "rateLimit": 7, "version": 1}
    made = await acme.call("POST /app/{app_id}/endpoint", json={"url": "https://acme.example/old", **names})
    assert made.status_code == 201, made.text
    shown = made.json()
    assert {name: shown[name] for name in names} == names
    assert (shown["eventTypes"], shown["throttleRate"]) == (["order.paid"], 7)


async def test_a_raw_payload_and_a_ping_are_understood(acme: Acme) -> None:
    raw = {"eventType": "raw", "payload": {}, "transformationsParams": {"rawPayload": '{"order": 1}'}}
    sent = await acme.call("POST /app/{app_id}/msg", json=raw)
    assert (sent.status_code, sent.json()["payload"]) == (202, {"order": 1})
    ping = await acme.call("POST /app/{app_id}/endpoint/{endpoint_id}/send-example", json={"eventType": "svix.ping"})
    assert ping.json()["payload"] == {"success": True}


async def test_a_message_adds_the_application_that_it_describes(acme: Acme) -> None:
    body = {"eventType": "order.paid", "payload": {"order": 1}, "application": {"name": "Inline", "uid": "inline"}}
    assert (await acme.call("POST /app/inline/msg", json=body)).status_code == 202
    assert (await acme.call("GET /app/inline")).json()["name"] == "Inline"
    again = body | {"application": {"name": "Ignored", "uid": "inline"}}
    assert (await acme.call("POST /app/inline/msg", json=again)).status_code == 202
    assert (await acme.call("GET /app/inline")).json()["name"] == "Inline"
    other = await acme.call("POST /app/other-uid/msg", json=body)
    assert other.json()["detail"][0]["loc"] == ["body", "application", "uid"]


async def test_no_value_of_a_header_is_shown(acme: Acme) -> None:
    made = await acme.call("POST /app/{app_id}/endpoint", json={"url": "https://acme.example/h", "disabled": True})
    route = f"/app/{{app_id}}/endpoint/{made.json()['id']}/headers"
    await acme.call(f"PUT {route}", json={"headers": {"x-functions-key": "0"}})
    await acme.call(f"PATCH {route}", json={"headers": {"x-api-version": "2"}})
    shown = (await acme.call(f"GET {route}")).json()
    assert (shown["headers"], sorted(shown["sensitive"])) == ({}, ["x-api-version", "x-functions-key"])


async def test_attempts_are_read_with_the_slots_of_searches(acme: Acme) -> None:
    tenant, searches = acme.instance.tenant, acme.instance.app.state.api.searches
    routes = "GET /app/{app_id}/attempt/endpoint/{endpoint_id}", "GET /app/{app_id}/attempt/msg/{msg_id}"
    async with searches.slot(tenant), searches.slot(tenant):
        reading = [asyncio.create_task(acme.call(route)) for route in routes]
        async with asyncio.timeout(WAIT_TIMEOUT):
            while searches._limit.waiting(tenant) < len(routes):
                await asyncio.sleep(0.01)
    for answer in await asyncio.gather(*reading):
        assert answer.status_code == 200


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("route", ["GET /app", "GET /app/{app_id}/endpoint", "GET /event-type"])
async def test_a_list_is_read_in_either_order_forth_and_back(acme: Acme, route: str, order: str) -> None:
    async def page(iterator: str | None) -> dict[str, Any]:
        given = {"iterator": iterator} if iterator else {}
        answer = await acme.call(route, params={"order": order, "limit": 1, **given})
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    pages = [await page(None)]
    while not pages[-1]["done"]:
        pages.append(await page(pages[-1]["iterator"]))
    whole = (await acme.call(route, params={"order": order})).json()
    assert [each["data"][0] for each in pages] == whole["data"]
    assert len(pages) > 1
    back = [await page(pages[-1]["prevIterator"])]
    while not back[-1]["done"]:
        back.append(await page(back[-1]["prevIterator"]))
    assert [each["data"] for each in back] == [each["data"] for each in pages[-2::-1]]
    assert (await page(back[-1]["iterator"]))["data"] == pages[1]["data"]
    assert whole["data"] == sorted(whole["data"], key=_age, reverse=order == "descending")


def _age(item: dict[str, Any]) -> tuple[str, str]:
    return ("", item["name"]) if "schemas" in item else (item["createdAt"], "")


async def test_paths_and_queries_are_written_as_svix_reads_them(acme: Acme) -> None:
    assert (await acme.call("GET /health/ping/")).status_code == 204
    assert (await acme.call("GET /app/{app_id}/")).json()["uid"] == acme.instance.tenant
    for query in ("event_types[]=order.paid", "event_types[0]=order.sent&event_types[1]=order.paid"):
        found = (await acme.call(f"GET /app/{{app_id}}/msg/?{query}")).json()["data"]
        assert "m-1" in [each["id"] for each in found], query
    assert (await acme.call("GET /app/{app_id}/msg/?event_types[]=order.sent")).json()["data"] == []


async def test_an_asymmetric_secret_is_shown_by_its_public_part(acme: Acme) -> None:
    secret = new_secret("v1a")
    body = {"url": "https://acme.example/asymmetric", "uid": "asymmetric", "secret": secret}
    assert (await acme.call("POST /app/{app_id}/endpoint", json=body)).status_code == 201
    shown = await acme.call("GET /app/{app_id}/endpoint/asymmetric/secret")
    assert shown.json() == {"key": public_key(secret)}


async def test_messages_and_attempts_are_paged_forth_and_back(instance: Instance, inbox: Receiver) -> None:
    inbox.answers += [Answer(500), Answer(500), Answer(200)]
    webhook = await instance.webhook(inbox.url, uid="shop", retry={"schedule": [0, 0]})
    for event_id in ("m-1", "m-2"):
        await instance.send(id=event_id)
        await instance.until_closed(event_id)
    app = f"{PREFIX}/app/{instance.tenant}"

    async def page(path: str, iterator: str, **filters: Any) -> dict[str, Any]:
        params = {"limit": 1, "iterator": iterator, **filters}
        return (await instance.http.get(app + path, params=params)).json()  # type: ignore[no-any-return]

    attempts = "/attempt/endpoint/shop"
    messages = [("m-2", 0), ("m-1", 0)]
    for path, listed in {
        attempts: [*messages, ("m-1", 2), ("m-1", 2)],
        "/endpoint/shop/msg": messages,
        "/msg": [("m-2", None), ("m-1", None)],
    }.items():
        pages = [await page(path, "")]
        while not pages[-1]["done"]:
            pages.append(await page(path, pages[-1]["iterator"]))
        items = [each["data"][0] for each in pages]
        assert [(item.get("msgId", item["id"]), item.get("status")) for item in items] == listed
        back = [await page(path, pages[-1]["prevIterator"])]
        while not back[-1]["done"]:
            back.append(await page(path, back[-1]["prevIterator"]))
        assert [each["data"] for each in back] == [each["data"] for each in pages[-2::-1]]
    first = await page(attempts, "")
    assert first["iterator"] == first["data"][0]["id"]
    # The newest message has no attempt that failed: the page is empty, and names where the next one begins.
    empty = await page(attempts, "", status=2)
    assert (empty["data"], empty["done"], empty["iterator"]) == ([], False, f"atmpt_0_{webhook['id']}_m-2")
    failed = await page(attempts, empty["iterator"], status=2)
    assert (failed["data"][0]["responseStatusCode"], failed["data"][0]["statusText"]) == (500, "fail")
    assert (await instance.http.delete(f"{app}/endpoint/shop")).status_code == 204
    (deleted,) = (await page("/msg/m-1/endpoint", ""))["data"]
    known = {name: deleted[name] for name in ("id", "uid", "url", "disabled", "statusText")}
    assert known == {"id": webhook["id"], "uid": None, "url": inbox.url, "disabled": True, "statusText": "success"}


async def test_attempts_of_a_rare_event_type_are_found_beyond_one_scan(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "MAX_SCANNED", 2)
    await instance.webhook(inbox.url, uid="shop")
    for event_id, type_ in (("m-1", "rare"), ("m-2", "order.paid"), ("m-3", "order.paid")):
        await instance.send(type_, id=event_id)
        await instance.until_closed(event_id)
    path = f"{PREFIX}/app/{instance.tenant}/attempt/endpoint/shop"
    found = (await instance.http.get(path, params={"event_types": "rare"})).json()
    assert [each["msgId"] for each in found["data"]] == ["m-1"]


@pytest.mark.parametrize(("status", "found"), [(0, []), (1, ["m-1"]), (2, []), (3, ["m-1"])])
async def test_a_message_that_is_retried_is_being_sent(
    instance: Instance, inbox: Receiver, status: int, found: list[str]
) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, uid="shop", retry={"schedule": [600]})
    await instance.send(id="m-1")
    await instance.until_delivery("m-1", "retrying", attempts=1)
    path = f"{PREFIX}/app/{instance.tenant}/endpoint/shop/msg"
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not (all_ := (await instance.http.get(path)).json()["data"]) or not all_[0]["nextAttempt"]:
            await asyncio.sleep(0.05)
    assert all_[0]["statusText"] == "sending"
    assert [each["id"] for each in (await instance.http.get(path, params={"status": status})).json()["data"]] == found


async def test_lists_of_messages_show_when_a_later_one_is_delivered(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url, uid="shop")
    later = rfc3339(utc_now() + timedelta(hours=1))
    await instance.send(id="m-1", deliver_at=later)
    for path in ("/msg", "/endpoint/shop/msg"):
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not (listed := (await instance.http.get(f"{PREFIX}/app/{instance.tenant}{path}")).json()["data"]):
                await asyncio.sleep(0.05)
        assert [each["deliverAt"] for each in listed] == [later], path


async def test_a_request_is_signed_for_both_libraries(instance: Instance, inbox: Receiver) -> None:
    path = f"{PREFIX}/app/{instance.tenant}"
    await instance.http.put(path, json={"name": "Acme"})
    key = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = await instance.http.post(f"{path}/endpoint", json={"url": inbox.url, "secret": key})
    assert made.status_code == 201, made.text
    await instance.http.post(f"{path}/msg", json={"eventType": "a", "payload": {"ü": [1, 2.5, None]}})
    (request,) = await inbox.got(1)
    assert json.loads(request.body) == {"ü": [1, 2.5, None]}
    for library, prefix in ((Webhook, "svix-"), (StandardWebhook, "webhook-")):
        signed = {name: value for name, value in request.headers.items() if name.startswith(prefix)}
        assert len(signed) == 3
        library(key).verify(request.body, signed)


async def test_a_deleted_application_is_gone_at_once(instance: Instance) -> None:
    path = f"{PREFIX}/app/{instance.tenant}"
    await instance.http.put(path, json={"name": "Acme"})
    assert (await instance.http.delete(path)).status_code == 204
    for answer in (
        await instance.http.get(path),
        await instance.http.post(f"{path}/msg", json={"eventType": "a", "payload": {}}),
    ):
        assert answer.status_code == 404
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.http.put(path, json={"name": "Acme"})).status_code == 409:
            await asyncio.sleep(0.05)
    assert (await instance.http.get(path)).json()["name"] == "Acme"


def test_the_api_can_be_turned_off() -> None:
    app = bare_app(Settings(admin_key=SecretStr(KEY), svix_api=False))
    paths = [context.path or "" for context in iter_route_contexts(app.routes)]
    assert paths
    assert not [path for path in paths if path.startswith("/api")]


def test_messages_are_compared_directly_after_events() -> None:
    app = bare_app(Settings(admin_key=SecretStr(KEY)))
    paths = list(dict.fromkeys(context.path for context in iter_route_contexts(app.routes)))
    before = paths[: paths.index(f"{PREFIX}/app/{{app_id}}/msg")]
    assert {path.split("/")[2] for path in before if path} == {"events"}
