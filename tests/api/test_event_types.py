"""The catalogue of event types over HTTP, and how events are checked against it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema_rs import Draft202012Validator
from temporalio.client import Client

from hookkeeper.services.catalogue.documents import from_openapi
from instances import Instance, running_instance
from receivers import Receiver

SCHEMA = {
    "type": "object",
    "properties": {"order": {"type": "integer"}, "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
    "required": ["order"],
    "$defs": {"line": {"type": "object", "required": ["sku"]}},
}
PAID: dict[str, Any] = {
    "name": "order.paid",
    "description": "Paid.",
    "schema": SCHEMA,
    "examples": [{"order": 1, "lines": [{"sku": "a"}]}],
}


async def add(instance: Instance, **fields: Any) -> dict[str, Any]:
    answer = await instance.http.post("/v1/event-types", json=PAID | fields)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def post(instance: Instance, type_: str, data: Any, **fields: Any) -> Any:
    return await instance.http.post(
        "/v1/events", json={"type": type_, "tenant": instance.tenant, "data": data, **fields}
    )


async def test_an_event_type_can_be_created_changed_listed_and_deleted(idle_instance: Instance) -> None:
    http = idle_instance.http
    added = await add(idle_instance)
    assert {key: added[key] for key in PAID} == PAID
    assert added["archived"] is False
    assert (await http.get("/v1/event-types/order.paid")).json() == added
    assert (await http.post("/v1/event-types", json=PAID)).status_code == 409

    changed = (await http.patch("/v1/event-types/order.paid", json={"description": "Really."})).json()
    assert (changed["description"], changed["schema"], changed["examples"]) == ("Really.", SCHEMA, PAID["examples"])
    await add(idle_instance, name="order.shipped", archived=True)
    names = [item["name"] for item in (await http.get("/v1/event-types", params={"limit": 1})).json()["items"]]
    assert names == ["order.paid"]
    page = (await http.get("/v1/event-types", params={"cursor": "order.paid"})).json()
    assert [item["name"] for item in page["items"]] == ["order.shipped"]
    assert page["next_cursor"] is None

    assert (await http.delete("/v1/event-types/order.paid")).status_code == 204
    for method in ("GET", "DELETE", "PATCH"):
        body: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
        assert (await http.request(method, "/v1/event-types/order.paid", **body)).status_code == 404


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"schema": {"$ref": "http://schemas.example/a"}}, "schema"),
        ({"schema": {"$ref": "file:///etc/passwd"}}, "schema"),
        ({"schema": {"type": "nothing"}}, "schema"),
        ({"schema": []}, "schema"),
        ({"examples": [{"order": "one"}]}, "examples.0/order"),
        ({"name": "order.*"}, "name"),
        ({"name": ""}, "name"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=str,
)
async def test_a_bad_event_type_is_refused(idle_instance: Instance, fields: dict[str, Any], path: str) -> None:
    answer = await idle_instance.http.post("/v1/event-types", json=PAID | fields)
    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == [path]
    assert (await idle_instance.http.get("/v1/event-types")).json()["items"] == []


@pytest.mark.promise("docs/event-types.md")
async def test_events_must_match_the_schema_of_their_type(idle_instance: Instance) -> None:
    await add(idle_instance)
    refused = await post(idle_instance, "order.paid", {"lines": [{"sku": "a"}, {}]}, id="e")
    assert refused.status_code == 422
    assert [error["path"] for error in refused.json()["errors"]] == ["data", "data/lines/1"]
    assert (await idle_instance.http.get("/v1/events/e", params={"tenant": idle_instance.tenant})).status_code == 404
    assert (await post(idle_instance, "order.paid", {"order": 1}, id="e")).status_code == 202
    assert (await post(idle_instance, "order.unknown", "anything")).status_code == 202


@pytest.mark.promise("docs/event-types.md")
async def test_an_archived_type_refuses_new_events_and_recognises_accepted_ones(idle_instance: Instance) -> None:
    await add(idle_instance)
    assert (await post(idle_instance, "order.paid", {"order": 1}, id="old")).status_code == 202
    await idle_instance.http.patch("/v1/event-types/order.paid", json={"archived": True})
    refused = await post(idle_instance, "order.paid", {"order": 1}, id="new")
    assert [error["path"] for error in refused.json()["errors"]] == ["type"]
    again = await post(idle_instance, "order.paid", {"order": 1}, id="old")
    assert (again.status_code, again.json()["duplicate"]) == (200, True)


@pytest.fixture
async def strict(temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    async with running_instance(temporal, tmp_path, require_known_event_types=True) as instance:
        yield instance


@pytest.mark.promise("docs/event-types.md")
async def test_unknown_types_can_be_refused(strict: Instance) -> None:
    refused = await post(strict, "order.paid", {"order": 1})
    assert [error["path"] for error in refused.json()["errors"]] == ["type"]
    await add(strict)
    assert (await post(strict, "order.paid", {"order": 1})).status_code == 202


@pytest.mark.promise("docs/event-types.md")
@pytest.mark.parametrize(
    ("patterns", "sample", "sent"),
    [
        (["*"], {"type": "order.paid"}, "order.paid"),
        (["*"], {}, "order.paid"),
        (["order.bare", "order.*"], {}, "order.paid"),
        (["order.bare", "Order.*", "order_paid", "order.paid.*"], {}, "hookkeeper.test"),
        (["order.*"], {"data": {"order": 1}}, "hookkeeper.test"),
    ],
    ids=["given", "any", "with-an-example", "none-of-its-own", "own-data"],
)
async def test_a_test_event_is_an_example_of_a_type_that_the_webhook_gets(
    instance: Instance, inbox: Receiver, patterns: list[str], sample: dict[str, Any], sent: str
) -> None:
    await add(instance)
    await instance.http.post("/v1/event-types", json={"name": "order.bare"})
    await instance.http.post("/v1/event-types", json={"name": "order.old", "examples": [1], "archived": True})
    webhook = await instance.webhook(inbox.url, events=patterns)
    preview = {"webhook_id": webhook["id"], "event": sample}
    assert (await instance.http.post("/v1/webhooks/preview", json=preview)).json()["type"] == sent
    answer = await instance.http.post(f"/v1/webhooks/{webhook['id']}/test", json=sample)
    assert answer.json()["type"] == sent
    (request,) = await inbox.got(1)
    is_example = b'"data":{"order":1,"lines":[{"sku":"a"}]}' in request.body
    assert is_example is (sent == "order.paid")


@pytest.mark.parametrize(
    ("sample", "paths"),
    [({"type": "order.paid", "data": {"order": "1"}}, ["data/order"]), ({"type": "order.any", "data": 1}, [])],
    ids=["schema", "unknown"],
)
async def test_test_events_must_match_the_schema_of_their_type(
    strict: Instance, sample: dict[str, Any], paths: list[str]
) -> None:
    """A receiver may rely on it. The type of a test need not be in the catalogue, as the default one is not."""
    await add(strict)
    webhook = await strict.webhook("http://127.0.0.1:9000/")
    answer = await strict.http.post(f"/v1/webhooks/{webhook['id']}/test", json=sample)
    assert answer.status_code == (422 if paths else 202)
    assert [error["path"] for error in answer.json().get("errors", [])] == paths


async def test_an_exported_catalogue_can_be_imported_unchanged(idle_instance: Instance) -> None:
    await add(idle_instance)
    await add(idle_instance, name="order.archived", archived=True)
    document = (await idle_instance.http.get("/v1/catalogue")).json()
    assert document["openapi"] == "3.1.0"
    assert list(document["webhooks"]) == ["order.paid"]
    (imported,) = from_openapi(yaml.safe_load(yaml.safe_dump(document)))
    assert (imported.name, imported.description, imported.schema) == ("order.paid", "Paid.", SCHEMA)
    assert imported.examples == PAID["examples"]
    asyncapi = (await idle_instance.http.get("/v1/catalogue", params={"format": "asyncapi"})).json()
    assert asyncapi["asyncapi"] == "3.0.0"
    (message,) = asyncapi["channels"]["webhooks"]["messages"].values()
    assert message["name"] == "order.paid"
    for example, data in zip(message["examples"], PAID["examples"], strict=True):
        Draft202012Validator(message["payload"]).validate(example["payload"])
        assert example["payload"]["data"] == data


def test_an_import_resolves_the_components_of_a_document() -> None:
    document = {
        "openapi": "3.1.0",
        "webhooks": {
            "build.failed": {
                "post": {
                    "summary": "A build failed.",
                    "requestBody": {
                        "content": {
                            "application/json": {
                                "schema": {"$ref": "#/components/schemas/Build"},
                                "example": {"log": {"lines": 1}},
                            }
                        }
                    },
                }
            }
        },
        "components": {
            "schemas": {
                "Build": {"properties": {"log": {"$ref": "#/components/schemas/Log"}}},
                "Log": {"properties": {"parent": {"$ref": "#/components/schemas/Log"}}},
                "Unused": {},
            }
        },
    }
    (imported,) = from_openapi(document)
    assert imported.description == "A build failed."
    assert imported.schema == {
        "$ref": "#/$defs/Build",
        "$defs": {
            "Build": {"properties": {"log": {"$ref": "#/$defs/Log"}}},
            "Log": {"properties": {"parent": {"$ref": "#/$defs/Log"}}},
        },
    }
    assert imported.examples == [{"log": {"lines": 1}}]
    nothings: list[Any] = [{}, [], None, {"webhooks": {}}]
    for nothing in nothings:
        with pytest.raises(ValueError, match="has no webhooks"):
            list(from_openapi(nothing))
