"""The OpenAPI document: scopes, tags and examples fit the code, and it describes what Hookkeeper itself sends."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import pytest
from callers import guarded
from fastapi import FastAPI
from pydantic import SecretStr

from api.app import bare_app
from event_loops import starting
from hookkeeper.settings import Settings
from instances import Instance
from receivers import Receiver, Request, receiver

ADDRESS = "urn:hookkeeper:openapi"
JSON = "application/json"
DATA = ("default", "enum", "const", "example", "examples")
"""Keywords whose values are data, not schemas."""
Pointer = tuple[str, ...]


@cache
def app() -> FastAPI:
    """Make the app once, and only in a process that runs these tests: it takes half a second."""
    return bare_app(Settings(admin_key=SecretStr("a-key-for-tests-only"), public_url="https://hooks.acme.example"))


def document() -> dict[str, Any]:
    """Return the document, which the app keeps."""
    with starting():  # it takes most of a second, once: the first test to need it may be on the event loop
        return app().openapi()


@cache
def registry() -> jsonschema_rs.Registry:
    return jsonschema_rs.Registry([(ADDRESS, document())], draft=jsonschema_rs.Draft202012)


def operations(section: str = "paths") -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document()[section].items()
        for method, operation in methods.items()
    }


def validator(pointer: Pointer) -> jsonschema_rs.Validator:
    """Return a validator of the schema at this pointer into the document."""
    fragment = quote("/".join(step.replace("~", "~0").replace("/", "~1") for step in pointer))
    schema = {"$ref": f"{ADDRESS}#/{fragment}"}
    return jsonschema_rs.Draft202012Validator(schema, registry=registry(), validate_formats=True)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference; of a body that may be left out, give the schema of one that is there."""
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    name = schema.get("$ref", "").rpartition("/")[2]
    return document()["components"]["schemas"][name] if name else schema


def test_the_document_is_valid_openapi_3_1() -> None:
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

    OPENAPI_31_VALIDATOR.validate(document())


# Scopes, tags, servers


def test_each_operation_names_its_scopes() -> None:
    known = operations()
    for route, scopes in guarded(app()).items():
        operation = known.pop(route.replace(":path", ""))
        assert operation["security"] == [{"HTTPBearer": [scope]} for scope in sorted(scopes)], route
        assert operation["description"].endswith(f"\n\nScope: {' or '.join(f'`{each}`' for each in sorted(scopes))}.")
    codec: list[dict[str, list[str]]] = [{"HTTPBearer": []}, {"CodecSession": []}]
    assert known.keys() == {
        "GET /healthz",
        "GET /readyz",
        "POST /v1/providers/sendgrid/events",
        "POST /codec/decode",
        "POST /codec/encode",
        "GET /codec",
        "POST /codec",
    }
    assert all(operation["security"] == (codec if route.endswith("code") else []) for route, operation in known.items())


def test_each_security_scheme_is_described() -> None:
    schemes = document()["components"]["securitySchemes"]
    used = {name for operation in operations().values() for needed in operation["security"] for name in needed}
    assert used == schemes.keys()
    assert all(scheme["description"] for scheme in schemes.values())


def test_each_tag_is_described_and_used() -> None:
    described = {tag["name"]: tag["description"] for tag in document()["tags"]}
    used = [operation["tags"] for section in ("paths", "webhooks") for operation in operations(section).values()]
    assert {tag for (tag,) in used} == described.keys()
    assert all(described.values())


def test_the_first_server_of_the_document_is_the_one_that_serves_it() -> None:
    """Swagger UI sends its requests there: the page's policy forbids others, and the public URL may be another one."""
    assert [server["url"] for server in document()["servers"]] == ["/", "https://hooks.acme.example"]


def test_each_operation_id_is_the_name_of_its_function() -> None:
    ids = [operation["operationId"] for section in ("paths", "webhooks") for operation in operations(section).values()]
    assert len(set(ids)) == len(ids)
    assert all(name.isidentifier() for name in ids)


def test_no_description_is_a_default_of_fastapi() -> None:
    for route, operation in operations().items():
        summary = operation["summary"]
        assert summary[0].isupper() and summary != operation["operationId"].replace("_", " ").title(), route
        assert "Successful Response" not in json.dumps(operation["responses"]), route


# Examples


def examples(node: Any, at: Pointer = ()) -> Iterator[tuple[Pointer, Any]]:
    """Return each example, with the pointer to its schema."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from examples(item, (*at, str(index)))
    if not isinstance(node, dict):
        return
    names_fields = at[-1:] == ("properties",)
    given = node.get("examples")
    if not names_fields and isinstance(given, list):
        yield from ((at, example) for example in given)
    if not names_fields and isinstance(given, dict):
        yield from (((*at, "schema"), example["value"]) for example in given.values())
    for name, child in node.items():
        if names_fields or name not in DATA:
            yield from examples(child, (*at, name))


def test_each_example_fits_its_schema() -> None:
    checked = list(examples(document()))
    assert len(checked) > 100
    for at, example in checked:
        errors = [error.message for error in validator(at).iter_errors(example)]
        assert not errors, f"{'/'.join(at)}: {errors}"


def has_example(media: dict[str, Any]) -> bool:
    """Find an example of the media type or of its schema; of a list's page, one of its items."""
    schema = resolved(media["schema"])
    items = schema.get("properties", {}).get("items", {}).get("items")
    return bool(media.get("examples") or schema.get("examples") or (items and resolved(items).get("examples")))


def test_each_request_body_has_an_example() -> None:
    for section in ("paths", "webhooks"):
        for route, operation in operations(section).items():
            body = operation.get("requestBody", {}).get("content", {})
            assert JSON not in body or has_example(body[JSON]), route


def test_each_answer_has_an_example() -> None:
    for route, operation in operations().items():
        for status, answer in operation["responses"].items():
            content = answer.get("content", {})
            assert JSON not in content or has_example(content[JSON]), f"{route} {status}"


@pytest.mark.promise("docs/api.md")
@pytest.mark.parametrize(
    ("schema", "path", "status"),
    [
        ("NewWebhook", "/v1/webhooks", 201),
        ("PreviewRequest", "/v1/webhooks/preview", 200),
        ("NewEvent", "/v1/events", 202),
        ("EventBatch", "/v1/events/batch", 207),
        ("NewEventType", "/v1/event-types", 201),
        ("NewKey", "/v1/keys", 201),
        ("NewPortalLink", "/v1/portal-links", 201),
        ("TenantRecoveryRequest", "/v1/recoveries", 200),
        ("NewSchedule", "/v1/schedules", 201),
        ("NewSuppression", "/v1/suppressions", 201),
    ],
)
async def test_the_api_accepts_the_example_of_a_request(
    idle_instance: Instance, schema: str, path: str, status: int
) -> None:
    """The answer is as documented: its fields are those of the example."""
    (example,) = document()["components"]["schemas"][schema]["examples"]
    if "tenant" in example:
        example = example | {"tenant": idle_instance.tenant}
    answer = await idle_instance.http.post(path, json=example)
    assert answer.status_code == status, answer.text
    at = ("paths", path, "post", "responses", str(status), "content", JSON, "schema")
    validator(at).validate(answer.json())
    (documented,) = resolved(document()["paths"][path]["post"]["responses"][str(status)]["content"][JSON]["schema"])[
        "examples"
    ]
    assert list(answer.json()) == list(documented)
    assert all(item["status"] == 202 for item in answer.json().get("items", ()))


NOT_STANDARD = re.compile(
    r"whoever|somebody|nobody|anybody|everybody|asked for|by hand|for ever|whatever|where left out|\bour(s)?\b|anew",
    re.IGNORECASE,
)


def texts(node: Any) -> Iterator[str]:
    """Return all summaries and descriptions."""
    if isinstance(node, list):
        for item in node:
            yield from texts(item)
    if isinstance(node, dict):
        for name, child in node.items():
            if name in ("summary", "description") and isinstance(child, str):
                yield child
            yield from texts(child)


def test_descriptions_are_in_standard_english() -> None:
    assert len(list(texts(document()))) > 300
    assert not [text for text in texts(document()) if NOT_STANDARD.search(text)]


# What Hookkeeper itself sends


def check_sent(name: str, request: Request) -> None:
    """Check a request against the webhook of this name."""
    at = ("webhooks", name, "post")
    operation = document()["webhooks"][name]["post"]
    body = json.loads(request.body)
    validator((*at, "requestBody", "content", JSON, "schema")).validate(body)
    schema = resolved(operation["requestBody"]["content"][JSON]["schema"])
    assert list(body) == list(schema["properties"])
    assert request.headers["content-type"] == JSON
    headers = {parameter["name"]: str(index) for index, parameter in enumerate(operation.get("parameters", ()))}
    assert headers.keys() == {name for name in request.headers if name.startswith("webhook-")}
    for header, index in headers.items():
        value = request.headers[header]
        validator((*at, "parameters", index, "schema")).validate(int(value) if value.isdecimal() else value)


@pytest.mark.promise("docs/api.md")
async def test_the_requests_that_hookkeeper_sends_are_as_documented(instance: Instance, inbox: Receiver) -> None:
    """One event makes a delivery that fails for good, a notification, and an alert."""
    inbox.fails(500)
    async with receiver() as notified, receiver() as alerted:
        fields: dict[str, Any] = {
            "retry": {"schedule": []},
            "notifications": [{"http": {"url": notified.url}}],
            "on_failure": {"notifications": [{"http": {"url": alerted.url}}]},
        }
        await instance.webhook(inbox.url, **fields)
        event = await instance.send(data={"order": 4711})
        await instance.until_closed(event["id"])
        for name, at in (("delivery", inbox), ("notification", notified), ("alert", alerted)):
            (request,) = await at.got(1)
            check_sent(name, request)
    alert = json.loads(alerted.requests[0].body)["alert"]
    details = document()["components"]["schemas"]["AlertDetails"]["properties"]
    assert alert.keys() == details.keys()
    assert alert["kind"] == "failed"
