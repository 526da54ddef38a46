"""The OpenAPI document: what FastAPI makes of the routes, with tags, servers, and the scopes that each route needs."""

import threading
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.sse import EventSourceResponse

from api.openapi.examples import EXAMPLES
from api.problems import title
from api.sessions import CODEC, SESSION_SCHEME

DESCRIPTION = """Durable webhook delivery: each event is a Temporal workflow, and its history is the delivery log.

Register webhooks, post events, and watch and control each delivery.

- **Keys.** Send `Authorization: Bearer <key>`. Each operation names the scope that the key needs. A key gives access
  to one tenant, or to all; the admin key has all scopes.
- **Errors** are problem documents (RFC 9457), `application/problem+json`.
- **Lists** return pages: pass `next_cursor` as `cursor` to get the next page, until it is null.
- **Times** are RFC 3339; responses use UTC.
- **503** means that Temporal or the registry is unavailable. Retry after the seconds in `Retry-After`.
"""
TAGS = {
    "events": "Post events, read them with their deliveries and attempts, and control them: retry, cancel, hold,"
    " release, redeliver, reschedule, erase.",
    "webhooks": "Register, change, pause and test webhooks, rotate their signing keys, preview what they send, and list"
    " their deliveries.",
    "recoveries": "Redeliver failed deliveries in bulk, for one webhook or for a whole tenant.",
    "schedules": "Events that are posted automatically, by cron expression or at an interval.",
    "statistics": "Counts, success rates and latencies, from the index of events.",
    "tenants": "Customers: describe, limit and suspend them.",
    "event types": "The catalogue of event types with their JSON Schemas, shared by all tenants.",
    "suppressions": "Email addresses that receive no more emails.",
    "keys": "API keys: create, list and revoke them.",
    "portal": "Single-use links for customers to the dashboard, and the sessions that they begin.",
    "audit": "The log of all changes and commands.",
    "providers": "Callbacks of email providers.",
    "codec": "The codec server of Temporal's web UI and command line: it decrypts and encrypts payloads.",
    "health": "Liveness and readiness checks.",
    "outgoing": "Requests that Hookkeeper sends: see the webhooks at the end of this document.",
}
SECURITY_SCHEMES = {
    SESSION_SCHEME: {
        "type": "apiKey",
        "in": "cookie",
        "name": CODEC.name,
        "description": "The cookie that `POST /codec` sets for the admin key, for 12 hours.",
    }
}
NO_SCOPE = "Needs no key."
DEFAULT_SUMMARY = "Successful Response"
"""FastAPI's description of an answer that has none."""


def operation_id(route: APIRoute) -> str:
    """Return the name of the route's function as the id of its operation."""
    return route.name


def tags() -> list[dict[str, str]]:
    """Return the tags in the order of the documentation page."""
    return [{"name": name, "description": description} for name, description in TAGS.items()]


def servers(public_url: str) -> list[dict[str, str]]:
    """Return the servers; the one of the request is first, since a browser may use another name than the public URL."""
    return [
        {"url": "/", "description": "The server of this document"},
        {"url": public_url, "description": "Its public URL"},
    ]


def install(app: FastAPI) -> None:
    """Make the app complete the document that FastAPI generates."""
    generate, lock = app.openapi, threading.Lock()

    def openapi() -> dict[str, Any]:
        with lock:
            if app.openapi_schema is None:
                _complete(generate())
            return generate()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] |= SECURITY_SCHEMES
    for example in EXAMPLES:
        schema = document["components"]["schemas"][type(example).__name__]
        schema["examples"] = [example.model_dump(mode="json", by_alias=True)]
    for operation in _operations(document):
        _complete_operation(operation)


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


def _complete_operation(operation: dict[str, Any]) -> None:
    operation["summary"] = _summary(operation)
    _describe_stream(operation["responses"].get("200", {}).get("content", {}).get(EventSourceResponse.media_type))
    for status, answer in operation["responses"].items():
        if answer["description"] == DEFAULT_SUMMARY:
            answer["description"] = title(int(status))
    scopes = _scopes(operation)
    if scopes:
        # FastAPI lists them as if a key needed them all: any one of them is enough.
        operation["security"] = [{"HTTPBearer": [scope]} for scope in scopes]
        operation["description"] += f"\n\nScope: {' or '.join(f'`{scope}`' for scope in scopes)}."
    elif "security" not in operation:
        operation["security"] = []
        operation["description"] += f"\n\n{NO_SCOPE}"


def _describe_stream(media: dict[str, Any] | None) -> None:
    """Let OpenAPI 3.1 have the schema of a message as an extension: only 3.2 describes streams."""
    if media is not None:
        media["x-itemSchema"] = media.pop("itemSchema")
        media["schema"] = {"type": "string", "contentMediaType": EventSourceResponse.media_type}


def _summary(operation: dict[str, Any]) -> str:
    """Return the summary; FastAPI's default, made of the function's name, is written as a sentence."""
    words: str = operation["operationId"].replace("_", " ")
    summary: str = operation["summary"]
    return words.capitalize() if summary == words.title() else summary


def _scopes(operation: dict[str, Any]) -> list[str]:
    return [scope for needed in operation.get("security", ()) for scopes in needed.values() for scope in scopes]
