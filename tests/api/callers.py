"""Callers of the API: keys that are made over it, each with a client of its own, and clients that hang up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.access import GuardedRoute, scopes_of
from instances import Instance


async def make_key(instance: Instance, tenant: str | None, **fields: Any) -> dict[str, Any]:
    """Make a key with the admin key."""
    answer = await instance.http.post("/v1/keys", json={"name": f"of {tenant}", "tenant": tenant, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


@asynccontextmanager
async def calling(app: FastAPI, key: str | None, address: str = "192.0.2.1") -> AsyncIterator[httpx.AsyncClient]:
    """Return a client with this key, from this address."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 1))
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://hookkeeper.test", headers=headers) as http:
        yield http


async def post_half(app: FastAPI, path: str, headers: dict[str, str]) -> int:
    """Hang up after the first half of a JSON body; return the status of the answer."""
    sent: list[Any] = [{"type": "http.request", "body": b"[", "more_body": True}, {"type": "http.disconnect"}]
    answers: list[Any] = []

    async def receive() -> Any:
        return sent.pop(0)

    async def send(message: Any) -> None:
        answers.append(message)

    headers = {"content-type": "application/json", "content-length": "99"} | headers
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": raw, "http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1)}
    await app(scope, receive, send)
    return answers[0]["status"]  # type: ignore[no-any-return]


def guarded(app: FastAPI) -> dict[str, frozenset[str]]:
    """Return all routes that need a key, as `GET /v1/…`, with what each declares: any of these scopes lets in."""
    return {name: scopes_of(route) for name, route in guarded_routes(app).items()}


def guarded_routes(app: FastAPI) -> dict[str, GuardedRoute]:
    """Return all routes of `/v1` that need a key, as `GET /v1/…`. Pages, agents and Svix's API have their own tests."""
    return {
        f"{method} {context.path}": context.original_route
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, GuardedRoute) and context.path and context.path.startswith("/v1/")
        for method in context.methods or ()
    }
