"""Keys for tests: made over the API, each with a client of its own."""

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
