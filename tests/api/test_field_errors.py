"""Errors in a field say in words what its text must be, not as a regular expression."""

from typing import Any

import pytest
from problems import problem

from instances import Instance


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
    idle_instance: Instance, query: dict[str, str], expected: str
) -> None:
    refused = problem(await idle_instance.http.get("/v1/events", params=query), 422)
    assert refused["errors"] == [{"path": next(iter(query)), "detail": expected}]


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
        ("/v1/webhooks", {"url": "http://127.0.0.1/", "event": ["a"]}, "event", "is not a field of this object"),
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
        "list",
        "retry",
        "email",
        "recipients",
        "event",
        "batch",
    ],
)
async def test_an_error_in_a_body_says_in_words_what_is_valid(
    idle_instance: Instance, path: str, body: Any, field: str, expected: str
) -> None:
    refused = problem(await idle_instance.http.post(path, json=body), 422)
    (error,) = refused["errors"]
    assert error["path"] == field
    assert error["detail"].endswith(expected)
