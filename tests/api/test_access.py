"""Each route says who may use it; each scope opens its routes and no others."""

import re
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from callers import calling, guarded
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import problem
from pydantic import SecretStr
from temporalio.client import Client

import dashboard
from api.access import KEYLESS, GuardedRoute, Unclassified, check_routes, needs
from api.requests import StrictRoute
from hookkeeper.registry.tenants.api_keys import ApiKey, digest_of, new_key, new_key_id
from hookkeeper.services.caller import SCOPES
from instances import KEY, Instance, running_instance

READ_ANY = "events:read webhooks:read"
NEEDS = {
    "POST /v1/webhooks": "webhooks:write",
    "GET /v1/webhooks": "webhooks:read",
    "GET /v1/webhooks/{webhook_id}": "webhooks:read",
    "PATCH /v1/webhooks/{webhook_id}": "webhooks:write",
    "DELETE /v1/webhooks/{webhook_id}": "webhooks:write",
    "GET /v1/webhooks/{webhook_id}/secret": "webhooks:secrets webhooks:write",
    "POST /v1/webhooks/{webhook_id}/rotate-secret": "webhooks:write",
    "POST /v1/webhooks/{webhook_id}/test": "webhooks:write",
    "POST /v1/webhooks/{webhook_id}/pause": "webhooks:write",
    "POST /v1/webhooks/{webhook_id}/resume": "webhooks:write",
    "GET /v1/webhooks/{webhook_id}/deliveries": "events:read",
    "GET /v1/webhooks/{webhook_id}/held": "events:read",
    "GET /v1/webhooks/{webhook_id}/queue": "events:read",
    "POST /v1/webhooks/{webhook_id}/recover": "events:write",
    "POST /v1/webhooks/preview": "webhooks:read",
    "POST /v1/recoveries": "events:write",
    "GET /v1/recoveries": "events:read",
    "GET /v1/recoveries/{recovery_id}": "events:read",
    "POST /v1/recoveries/{recovery_id}/pause": "events:write",
    "POST /v1/recoveries/{recovery_id}/resume": "events:write",
    "POST /v1/recoveries/{recovery_id}/cancel": "events:write",
    "GET /v1/suppressions": "webhooks:read",
    "POST /v1/suppressions": "webhooks:write",
    "DELETE /v1/suppressions/{address:path}": "webhooks:write",
    "POST /v1/events": "events:write",
    "POST /v1/events/batch": "events:write",
    "GET /v1/events": "events:read",
    "GET /v1/events/stream": "events:read",
    "GET /v1/stats": "events:read",
    "GET /v1/issues": "events:read",
    "GET /v1/events/{event_id}": "events:read",
    "GET /v1/events/{event_id}/run": "events:read",
    "POST /v1/events/{event_id}/retry": "events:write",
    "POST /v1/events/{event_id}/cancel": "events:write",
    "POST /v1/events/{event_id}/hold": "events:write",
    "POST /v1/events/{event_id}/release": "events:write",
    "POST /v1/events/{event_id}/redeliver": "events:write",
    "POST /v1/events/{event_id}/reschedule": "events:write",
    "POST /v1/events/{event_id}/acknowledge": "events:write",
    "POST /v1/events/{event_id}/unacknowledge": "events:write",
    "POST /v1/bulk": "events:write",
    "DELETE /v1/events/{event_id}/data": "events:write",
    "POST /v1/schedules": "events:write",
    "GET /v1/schedules": "events:read",
    "GET /v1/schedules/{schedule_id}": "events:read",
    "PATCH /v1/schedules/{schedule_id}": "events:write",
    "DELETE /v1/schedules/{schedule_id}": "events:write",
    "POST /v1/schedules/{schedule_id}/pause": "events:write",
    "POST /v1/schedules/{schedule_id}/resume": "events:write",
    "POST /v1/schedules/{schedule_id}/trigger": "events:write",
    "POST /v1/schedules/{schedule_id}/backfill": "events:write",
    "POST /v1/forwards": "webhooks:write",
    "GET /v1/forwards/{token}": "webhooks:write",
    "PATCH /v1/forwards/{token}": "webhooks:write",
    "POST /v1/tenants": "admin",
    "GET /v1/tenants": "events:read webhooks:read",
    "GET /v1/tenants/{tenant_id}": "events:read webhooks:read",
    "PUT /v1/tenants/{tenant_id}": "admin",
    "PATCH /v1/tenants/{tenant_id}": "admin",
    "DELETE /v1/tenants/{tenant_id}": "admin",
    "GET /v1/event-types": READ_ANY,
    "GET /v1/event-types/{name}": READ_ANY,
    "GET /v1/catalogue": READ_ANY,
    "GET /v1/search-keys": "events:read",
    "PUT /v1/search-keys": "events:write",
    "POST /v1/event-types": "admin",
    "PATCH /v1/event-types/{name}": "admin",
    "DELETE /v1/event-types/{name}": "admin",
    "POST /v1/keys": "admin",
    "GET /v1/keys": "admin",
    "GET /v1/keys/current": " ".join(sorted(SCOPES)),
    "DELETE /v1/keys/{key_id}": "admin",
    "POST /v1/portal-links": "admin webhooks:write",
    "GET /v1/portal-sessions": "admin webhooks:write",
    "DELETE /v1/portal-sessions/{session_id}": "admin webhooks:write",
    "GET /v1/audit": "admin",
    "GET /v1/system": "admin",
    "GET /v1/system/doctor": "admin",
}
"""What each route takes, written down a second time: a route that is new or changed has to be looked at."""
ADDRESSES = count()
BAD_ID = {"last-event-id": "nowhere"}
"""A stream would not end."""
NOWHERE = re.compile(r"\{\w+(:path)?\}")


@pytest.fixture(scope="module")
async def door(temporal: Client, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Instance]:
    async with running_instance(temporal, tmp_path_factory.mktemp("door")) as built:
        yield built


async def key_with(instance: Instance, *scopes: str) -> str:
    """Keep a key for all tenants, with any scopes that a test wants."""
    key = new_key()
    row = ApiKey(id=new_key_id(), name="of a test", tenant=None, scopes=list(scopes), digest=digest_of(key))
    await instance.store.api_keys.add(row)
    return key


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_every_route_is_in_the_table(door: Instance) -> None:
    assert {route: " ".join(sorted(scopes)) for route, scopes in guarded(door.app).items()} == NEEDS


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_every_route_without_a_key_is_in_the_list(door: Instance) -> None:
    contexts = list(iter_route_contexts(door.app.routes))
    open_to_all = {context.path for context in contexts if not isinstance(context.original_route, GuardedRoute)}
    of_extensions = {"/v1/forwards/{token}", "/api/v1/health", "/api/v1/health/ping"}
    assert open_to_all == KEYLESS | of_extensions | dashboard.EXTENSION.keyless


@pytest.mark.promise("docs/keys-and-tenants.md")
@pytest.mark.parametrize("scope", SCOPES)
async def test_a_scope_opens_its_routes_and_no_others(door: Instance, scope: str) -> None:
    """What is refused is refused before the body is read: it would be 400."""
    async with calling(door.app, await key_with(door, scope)) as http:
        for route, needed in NEEDS.items():
            method, path = route.split()
            answer = await http.request(method, NOWHERE.sub("nowhere", path), content=b"{", headers=BAD_ID)
            if scope in needed.split():
                assert answer.status_code not in (401, 403), route
            else:
                assert "lacks the scope" in problem(answer, 403)["detail"], route
                assert needed.split()[0] in answer.json()["detail"], route


async def test_the_admin_key_has_all_scopes(door: Instance) -> None:
    for route in NEEDS:
        method, path = route.split()
        answer = await door.http.request(method, NOWHERE.sub("nowhere", path), content=b"{", headers=BAD_ID)
        assert answer.status_code not in (401, 403), route


async def test_the_admin_key_before_a_rotation_is_accepted_too(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, previous_admin_key=SecretStr("the-admin-key-before")) as instance:
        for key, status in (("the-admin-key-before", 200), (KEY, 200), ("the-admin-key-beforehand", 401)):
            authorization = {"authorization": f"Bearer {key}"}
            assert (await instance.http.get("/v1/keys", headers=authorization)).status_code == status, key
            shown = await instance.http.post("/codec/decode", json={}, headers=authorization)
            assert (shown.status_code == 401) == (status == 401), key


# A route that does not say


def nothing() -> None:
    """Stand for a route."""


def test_a_guarded_route_without_a_scope_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(Unclassified, match="GET /new must say"):
        router.add_api_route("/new", nothing, methods=["GET"])
    with pytest.raises(Unclassified):
        router.add_api_route("/new", nothing, dependencies=[needs("admin"), needs("events:read")])
    router.add_api_route("/new", nothing, dependencies=[needs("admin")])


@pytest.mark.parametrize("route_class", [APIRoute, StrictRoute])
def test_an_app_with_a_route_that_is_not_guarded_cannot_be_made(route_class: type[APIRoute]) -> None:
    app, router = FastAPI(docs_url=None, redoc_url=None), APIRouter(route_class=route_class)
    check_routes(app, KEYLESS)
    router.add_api_route("/v1/new", nothing)
    app.include_router(router)
    with pytest.raises(Unclassified, match="/v1/new is neither"):
        check_routes(app, KEYLESS)


# Whatever the header says


@pytest.mark.promise("docs/keys-and-tenants.md")
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    header=st.binary(max_size=120)
    | st.builds(b"Bearer %b".__mod__, st.binary(max_size=80))
    | st.builds(lambda text: f"bearer hk_{text}".encode(), st.from_regex(r"[A-Za-z0-9]{49}", fullmatch=True)),
)
async def test_any_malformed_authorization_is_answered_with_401(door: Instance, header: bytes) -> None:
    async with calling(door.app, None, f"address {next(ADDRESSES)}") as http:
        answer = await http.get("/v1/webhooks", headers={b"authorization": header})
    assert problem(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("name", ["key", "api_key", "access_token", "authorization", "token"])
async def test_a_key_in_the_url_is_ignored(door: Instance, name: str) -> None:
    async with calling(door.app, None) as http:
        problem(await http.get("/v1/webhooks", params={name: KEY}), 401)
        problem(await http.get("/v1/webhooks", params={name: f"Bearer {KEY}"}), 401)
