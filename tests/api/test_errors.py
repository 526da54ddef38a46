"""Errors that no input causes: no key, no such path, a bug. And what the OpenAPI page says of errors."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from problems import problem
from pydantic import SecretStr
from structlog.testing import capture_logs

from api.app import NoAdminKey
from api.requests import StrictRoute
from api.state import ApiState
from hookkeeper.settings import Settings
from hookkeeper.version import VERSION
from instance_parts import app_of, new_app
from instances import KEY, Instance

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def app(instance: Instance) -> Iterator[FastAPI]:
    """An app with a state of its own: no address has tried a bad key yet."""
    with app_of(instance.settings, instance.store, instance.gateway) as app:
        yield app


@asynccontextmanager
async def calling(app: FastAPI, key: str | None = KEY) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://hookkeeper.test", headers=headers) as http:
        yield http


@pytest.fixture
def openapi(instance: Instance) -> dict[str, Any]:
    return instance.app.openapi()


def operations(openapi: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
        if method in METHODS and path.startswith("/v1") and not path.startswith("/v1/providers/")  # those sign
    }


# Keys


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}x",
        f"Bearer {KEY.upper()}",
        f"Bearer Bearer {KEY}",
        f"Basic {KEY}",
        KEY,
        "Bearer schlüssel",
        f"Bearer {KEY}\0",
    ],
)
async def test_a_request_without_a_valid_key_is_answered_with_401(
    app: FastAPI, instance: Instance, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"authorization": authorization.encode()}
    async with calling(app, key=None) as http:
        bodies: list[dict[str, Any]] = [
            {"json": {"type": "order.paid", "tenant": instance.tenant, "id": "e"}},
            {"content": b"{nonsense", "headers": {"content-type": "application/json"}},
            {"content": b"x" * 1_000_000},
            {"json": {"type": 1}},
            {},
        ]
        for body in bodies:
            given = body.get("headers", {}) | headers
            answer = await http.post("/v1/events", **body | {"headers": given})
            refused = problem(answer, 401)
            assert refused["detail"] in (
                "A key is required: send it as `Authorization: Bearer <key>`.",
                "The key is unknown.",
            )
            assert answer.headers["www-authenticate"] == "Bearer"
            assert KEY not in answer.text
    assert (await instance.http.get("/v1/events/e", params={"tenant": instance.tenant})).status_code == 404


async def test_every_operation_checks_the_key_before_its_input(
    app: FastAPI, instance: Instance, openapi: dict[str, Any]
) -> None:
    assert len(operations(openapi)) >= 17
    for method, path in operations(openapi):
        app.state.api = ApiState(instance.settings, KEY, instance.store, instance.gateway)  # no bad keys yet
        async with calling(app, key="another-key-of-16") as http:
            answer = await http.request(method, path, content=b"{")
            refused = problem(answer, 401)
            assert refused["detail"] in (
                "A key is required: send it as `Authorization: Bearer <key>`.",
                "The key is unknown.",
            )
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_authorization_scheme_is_case_insensitive(instance: Instance, scheme: str) -> None:
    answer = await instance.http.get("/v1/webhooks", headers={"authorization": f"{scheme} {KEY}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
async def test_some_pages_need_no_key(app: FastAPI, path: str) -> None:
    async with calling(app, key=None) as http:
        assert (await http.get(path)).status_code == 200


async def test_without_metrics_their_path_names_the_setting(instance: Instance) -> None:
    refused = problem(await instance.http.get("/metrics"), 404)
    assert refused["detail"].startswith("No metrics are served: set HOOKKEEPER_METRICS_ADDRESS")


async def test_health_and_readiness_need_no_key(idle_instance: Instance) -> None:
    assert (await idle_instance.http.get("/healthz")).json() == {"status": "ok", "version": VERSION}
    assert (await idle_instance.http.get("/readyz")).json() == {
        "status": "ready",
        "temporal": "running",
        "workers": "none",
    }


async def test_an_api_without_an_admin_key_cannot_be_made(instance: Instance) -> None:
    open_to_all = Settings(admin_key=None)
    with pytest.raises(NoAdminKey, match="HOOKKEEPER_ADMIN_KEY"):
        new_app(open_to_all, instance.store, instance.gateway)


# Paths and methods


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/v1",
        "/v1/",
        "/v2/events",
        "/v1/event",
        "/v1/events/",
        "/v1/events/e/explode",
        "/v1/webhooks/w/x/y",
        "/%00",
    ],
)
async def test_an_unknown_path_is_answered_with_404(instance: Instance, path: str) -> None:
    for method in METHODS:
        refused = problem(await instance.http.request(method, path), 404)
        assert refused["detail"] == "There is no such path. /docs lists all: those of the API begin with /v1."


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/events", {"GET", "POST"}),
        ("PUT", "/v1/webhooks", {"GET", "POST"}),
        ("GET", "/v1/events/e/cancel", {"POST"}),
        ("POST", "/v1/webhooks/w", {"DELETE", "GET", "PATCH"}),
        ("POST", "/healthz", {"GET"}),
        ("POST", "/events", {"GET"}),
    ],
)
async def test_a_wrong_method_is_answered_with_405(
    instance: Instance, method: str, path: str, allowed: set[str]
) -> None:
    answer = await instance.http.request(method, path)
    refused = problem(answer, 405)
    methods = answer.headers["allow"]
    assert set(methods.split(", ")) <= allowed
    assert (
        refused["detail"] == f"This path takes {methods} only. /docs lists all paths: those of the API begin with /v1."
    )


# Bugs


class Unforeseen(Exception):
    """A bug with a text that no caller should read."""


def _fail() -> None:
    raise Unforeseen("password=hunter2 at 10.0.0.7 in /srv/app.py")


def _fail_within() -> None:
    try:
        _fail()
    except Unforeseen as error:
        raise ExceptionGroup("inner", [error]) from error


@pytest.mark.promise("docs/api.md")
async def test_an_unexpected_error_is_logged_and_reveals_nothing(instance: Instance) -> None:
    app = new_app(instance.settings, instance.store, instance.gateway)
    app.add_api_route("/broken", _fail)
    app.router.add_api_route("/v1/broken", _fail, route_class_override=StrictRoute)
    app.router.add_api_route("/v1/broken-within", _fail_within, route_class_override=StrictRoute)
    async with calling(app) as http:
        for path in ("/broken", "/v1/broken", "/v1/broken-within"):
            with capture_logs() as logs:
                answer = await http.get(path)
            assert problem(answer, 500)["detail"] == "Internal error; it has been logged."
            assert "hunter2" not in answer.text
            assert "10.0.0.7" not in answer.text
            (line,) = logs
            assert (line["log_level"], line["method"], line["path"]) == ("error", "GET", path)
            assert isinstance(line["exc_info"], (Unforeseen, ExceptionGroup))


async def test_an_unexpected_error_in_one_event_of_a_batch_affects_no_other(idle_instance: Instance) -> None:
    matching = idle_instance.store.webhooks.matching

    async def fail_for_some(tenant: str, event_type: str) -> Any:
        await asyncio.sleep(0)
        return _fail() if event_type == "broken" else await matching(tenant, event_type)

    idle_instance.store.webhooks.matching = fail_for_some  # type: ignore[method-assign]
    events = [{"type": type_, "tenant": idle_instance.tenant, "id": type_} for type_ in ("one", "broken", "two")]
    with capture_logs() as logs:
        answer = await idle_instance.http.post("/v1/events/batch", json={"events": events})
    assert answer.status_code == 207
    assert [item["status"] for item in answer.json()["items"]] == [202, 500, 202]
    assert "hunter2" not in answer.text
    # The instance's own tasks may log an info meanwhile, which is not about this tenant.
    about = [line for line in logs if line["log_level"] != "info" or idle_instance.tenant in str(line)]
    assert [line["log_level"] for line in about] == ["error"]


# What the OpenAPI page says


async def test_the_openapi_document_resolves_its_references_and_has_no_errors_of_fastapi(
    instance: Instance,
) -> None:
    answer = await instance.http.get("/openapi.json")
    document = json.loads(answer.content)
    assert document["openapi"].startswith("3.")
    assert document["info"]["title"] == "Hookkeeper"
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    references = set(_references(document))
    assert references
    for reference in references:
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
    assert "HTTPValidationError" not in answer.text, "FastAPI's own errors are none of ours"


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(reference := part.get("$ref"), str):
            yield reference
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from _references(item)


@pytest.mark.promise("docs/api.md")
async def test_every_operation_is_described_with_its_errors(openapi: dict[str, Any]) -> None:
    for (method, path), operation in operations(openapi).items():
        where = f"{method} {path}"
        assert len(operation.get("description", "")) > 10, where
        ((scheme, scopes),) = operation["security"][0].items()
        assert scheme == "HTTPBearer" and scopes, where
        adds = method == "PUT" and path == "/v1/tenants/{tenant_id}"
        expected = {"401", "403", "422", "429", "503"} | ({"404"} if "{" in path and not adds else set())
        if "requestBody" in operation:
            expected |= {"400", "413", "415"}
        if path == "/v1/events" and method == "POST":
            expected |= {"200", "409"}
        if "{event_id}/" in path and method != "GET":
            expected |= {"409"}
        assert expected <= set(operation["responses"]), where
        for status, response in operation["responses"].items():
            if status >= "400":
                schema = response["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ProblemDocument"}, where
                assert list(response["content"]) == ["application/problem+json"], where


async def test_readyz_documents_its_503(openapi: dict[str, Any]) -> None:
    assert "503" in openapi["paths"]["/readyz"]["get"]["responses"]


async def test_the_examples_of_the_openapi_document_are_accepted(instance: Instance, openapi: dict[str, Any]) -> None:
    for schema, path, status in (("NewWebhook", "/v1/webhooks", 201), ("NewEvent", "/v1/events", 202)):
        examples = openapi["components"]["schemas"][schema]["examples"]
        assert examples
        for example in examples:
            answer = await instance.http.post(path, json=example | {"tenant": instance.tenant})
            assert answer.status_code == status, answer.text


async def test_a_key_is_never_shown(instance: Instance) -> None:
    assert isinstance(instance.settings.admin_key, SecretStr)
    assert KEY not in repr(instance.settings)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"last": "2x"}, "must be a number of minutes, hours or days, such as `15m`, `24h` or `7d`"),
        ({"status_code": "6xx"}, "must be a status code such as `503`, or a class such as `5xx`"),
        ({"tenant": "a b"}, "must be 1 to 64 letters, digits, `_` or `-`"),
        ({"id_prefix": "é"}, "must be 1 to 128 letters, digits, `_` or `-`"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_an_error_in_a_query_says_in_words_what_is_valid(
    instance: Instance, query: dict[str, str], expected: str
) -> None:
    refused = problem(await instance.http.get("/v1/events", params=query), 422)
    assert refused["errors"] == [{"path": next(iter(query)), "detail": expected}]


@pytest.mark.promise("docs/api.md")
@pytest.mark.parametrize(
    ("path", "body", "field", "expected"),
    [
        ("/v1/events", {"type": "order paid", "data": {}}, "type", "joined by dots, such as `order.paid`"),
        ("/v1/webhooks", {"url": "http://127.0.0.1/", "events": ["order*"]}, "events.0", "such as `order.*`, or `*`"),
        ("/v1/keys", {"name": "a", "tenant": "acme", "rate_limit": "often"}, "rate_limit", "such as `100/second`"),
        ("/v1/keys", {"name": "a", "tenant": "acme", "scopes": []}, "scopes", "must not be empty"),
        (
            "/v1/portal-links",
            {"name": "a", "tenant": "acme", "theme": {"accent": "red"}},
            "theme.accent",
            "such as `#0f766e`",
        ),
        ("/v1/portal-links", {"name": "a", "tenant": "acme", "path": "//x?y"}, "path", "such as `/webhooks`"),
        (
            "/v1/schedules",
            {"id": "a b", "every": 60, "event": {"type": "a"}},
            "id",
            "must be 1 to 100 letters, digits, `_` or `-`",
        ),
        (
            "/v1/webhooks",
            {"url": "http://127.0.0.1/", "event": ["a"]},
            "event",
            "is not a field of this object: did you mean `events`?",
        ),
        ("/v1/webhooks", {"emails": [{"to": ["a@b.example"], "subjct": "x"}]}, "emails.0.subjct", "mean `subject`?"),
        ("/v1/events", {"type": "order.paid", "tenent": "acme"}, "tenent", "did you mean `tenant`?"),
        ("/v1/webhooks", {"url": "http://127.0.0.1/", "events": "order.paid"}, "events", "must be a list"),
        ("/v1/webhooks", {"url": "http://127.0.0.1/", "retry": 3}, "retry", "must be an object"),
        ("/v1/webhooks", {"emails": ["ann@acme.example"]}, "emails.0", "must be an object"),
        ("/v1/webhooks", {"emails": [{"to": "ann@acme.example"}]}, "emails.0.to", "must be a list"),
        ("/v1/events", [{"type": "order.paid"}], "body", "must be an object"),
        ("/v1/events/batch", [{"type": "order.paid"}], "body", "must be an object"),
    ],
    ids=[
        "type",
        "pattern",
        "rate",
        "scopes",
        "colour",
        "page",
        "schedule",
        "no-field",
        "no-field-of-an-email",
        "no-field-of-an-event",
        "list",
        "retry",
        "email",
        "recipients",
        "event",
        "batch",
    ],
)
async def test_an_error_in_a_body_says_in_words_what_is_valid(
    instance: Instance, path: str, body: Any, field: str, expected: str
) -> None:
    refused = problem(await instance.http.post(path, json=body), 422)
    (error,) = refused["errors"]
    assert error["path"] == field
    assert error["detail"].endswith(expected)
