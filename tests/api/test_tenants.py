"""A key of one tenant, on every route there is, with the ids of another tenant's objects.

The routes are read from the app, and their path parameters filled from what tenant A has. `KINDS` says of each what
must come of it; a route that is missing there fails.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from callers import calling, guarded, guarded_routes, make_key
from problems import problem

from api.access import query_names
from hookkeeper.command_rules import COMMANDS
from instances import Instance

TODAY = datetime.now(UTC).isoformat()
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
ADDRESS = "ann@acme.example"
TYPE = "order.paid"
HOOK = {"url": "https://acme.example/hook"}
NEVER = {"event": {"type": TYPE}, "every": 86400 * 300, "offset": 86400 * 299}
NOBODYS_PERIOD = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:01Z"}

OBJECT, LISTS, MAKES, GLOBAL, ADMIN, STREAM = "object", "lists", "makes", "global", "admin", "stream"
OWN = "own"
"""A list of tenants, of which a key finds its own only."""
FORWARD = "forward"
"""An address that is not stored: `test_forwards` has what its owner can do."""
KINDS = {
    "POST /v1/webhooks": MAKES,
    "GET /v1/webhooks": LISTS,
    "GET /v1/webhooks/{webhook_id}": OBJECT,
    "PATCH /v1/webhooks/{webhook_id}": OBJECT,
    "DELETE /v1/webhooks/{webhook_id}": OBJECT,
    "GET /v1/webhooks/{webhook_id}/secret": OBJECT,
    "POST /v1/webhooks/{webhook_id}/rotate-secret": OBJECT,
    "POST /v1/webhooks/{webhook_id}/test": OBJECT,
    "POST /v1/webhooks/{webhook_id}/pause": OBJECT,
    "POST /v1/webhooks/{webhook_id}/resume": OBJECT,
    "GET /v1/webhooks/{webhook_id}/deliveries": OBJECT,
    "GET /v1/webhooks/{webhook_id}/held": OBJECT,
    "GET /v1/webhooks/{webhook_id}/queue": OBJECT,
    "POST /v1/webhooks/{webhook_id}/recover": OBJECT,
    "POST /v1/webhooks/preview": OBJECT,
    "POST /v1/recoveries": MAKES,
    "GET /v1/recoveries": LISTS,
    "GET /v1/recoveries/{recovery_id}": OBJECT,
    "POST /v1/recoveries/{recovery_id}/pause": OBJECT,
    "POST /v1/recoveries/{recovery_id}/resume": OBJECT,
    "POST /v1/recoveries/{recovery_id}/cancel": OBJECT,
    "GET /v1/suppressions": LISTS,
    "POST /v1/suppressions": MAKES,
    "DELETE /v1/suppressions/{address:path}": OBJECT,
    "POST /v1/events": MAKES,
    "POST /v1/events/batch": MAKES,
    "GET /v1/events": LISTS,
    "GET /v1/events/stream": STREAM,
    "GET /v1/events/{event_id}": OBJECT,
    "GET /v1/events/{event_id}/run": OBJECT,
    "POST /v1/events/{event_id}/retry": OBJECT,
    "POST /v1/events/{event_id}/cancel": OBJECT,
    "POST /v1/events/{event_id}/hold": OBJECT,
    "POST /v1/events/{event_id}/release": OBJECT,
    "POST /v1/events/{event_id}/redeliver": OBJECT,
    "POST /v1/events/{event_id}/reschedule": OBJECT,
    "POST /v1/events/{event_id}/acknowledge": OBJECT,
    "POST /v1/events/{event_id}/unacknowledge": OBJECT,
    "POST /v1/bulk": MAKES,
    "DELETE /v1/events/{event_id}/data": OBJECT,
    "GET /v1/stats": LISTS,
    "GET /v1/issues": LISTS,
    "POST /v1/schedules": MAKES,
    "GET /v1/schedules": LISTS,
    "GET /v1/schedules/{schedule_id}": OBJECT,
    "PATCH /v1/schedules/{schedule_id}": OBJECT,
    "DELETE /v1/schedules/{schedule_id}": OBJECT,
    "POST /v1/schedules/{schedule_id}/pause": OBJECT,
    "POST /v1/schedules/{schedule_id}/resume": OBJECT,
    "POST /v1/schedules/{schedule_id}/trigger": OBJECT,
    "POST /v1/schedules/{schedule_id}/backfill": OBJECT,
    "GET /v1/event-types": GLOBAL,
    "GET /v1/event-types/{name}": GLOBAL,
    "GET /v1/catalogue": GLOBAL,
    "GET /v1/keys/current": GLOBAL,
    "POST /v1/tenants": ADMIN,
    "GET /v1/tenants": OWN,
    "GET /v1/tenants/{tenant_id}": OBJECT,
    "PUT /v1/tenants/{tenant_id}": ADMIN,
    "PATCH /v1/tenants/{tenant_id}": ADMIN,
    "DELETE /v1/tenants/{tenant_id}": ADMIN,
    "GET /v1/search-keys": LISTS,
    "PUT /v1/search-keys": MAKES,
    "POST /v1/event-types": ADMIN,
    "PATCH /v1/event-types/{name}": ADMIN,
    "DELETE /v1/event-types/{name}": ADMIN,
    "POST /v1/keys": ADMIN,
    "GET /v1/keys": ADMIN,
    "DELETE /v1/keys/{key_id}": ADMIN,
    "POST /v1/portal-links": MAKES,
    "GET /v1/portal-sessions": LISTS,
    "DELETE /v1/portal-sessions/{session_id}": OBJECT,
    "POST /v1/forwards": FORWARD,
    "GET /v1/forwards/{token}": FORWARD,
    "PATCH /v1/forwards/{token}": FORWARD,
    "GET /v1/audit": ADMIN,
    "GET /v1/system": ADMIN,
    "GET /v1/system/doctor": ADMIN,
}


@dataclass
class Two:
    """Tenant A with something of everything, and tenant B, each with a key of its own."""

    instance: Instance
    a: httpx.AsyncClient
    b: httpx.AsyncClient
    theirs: str
    """Tenant B."""
    fixtures: dict[str, str]
    """A's objects, by the names of path parameters."""
    bodies: dict[str, Any] = field(default_factory=dict)

    @property
    def mine(self) -> str:
        """Tenant A."""
        return self.instance.tenant

    async def call(self, http: httpx.AsyncClient, route: str, tenant: str | None = None) -> httpx.Response:
        """Call a route on A's objects; `tenant` goes wherever the route takes one."""
        method, path = route.split()
        filled = path.replace(":path", "").format(**self.fixtures)
        body: Any = self.bodies.get(route)
        if path == "/v1/bulk":
            params = {"type": TYPE} | ({"tenant": tenant} if tenant else {})
            return await http.request(method, filled, json=body, params=params)
        if tenant and KINDS[route] == MAKES:
            named = (
                {"events": [body["events"][0] | {"tenant": tenant}]} if "batch" in path else body | {"tenant": tenant}
            )
            return await http.request(method, filled, json=named)
        names = query_names(guarded_routes(self.instance.app)[route])
        params = {"tenant": tenant} if tenant and "tenant" in names else {}
        headers = {"last-event-id": "nowhere"}
        return await http.request(method, filled, json=body, params=params, headers=headers)

    async def everything(self) -> dict[str, Any]:
        """Return all that A has, and all that only an admin may change."""
        admin, of_a = self.instance.http, {"tenant": self.mine}
        hook, event = self.fixtures["webhook_id"], self.fixtures["event_id"]
        audit = (await admin.get("/v1/audit", params=of_a)).json()["items"]
        return {
            "webhooks": (await admin.get("/v1/webhooks", params=of_a)).json(),
            "secret": (await admin.get(f"/v1/webhooks/{hook}/secret")).json(),
            "suppressions": (await admin.get("/v1/suppressions", params=of_a)).json(),
            "event": (await admin.get(f"/v1/events/{event}", params=of_a)).json(),
            "schedule": (await admin.get(f"/v1/schedules/{self.fixtures['schedule_id']}", params=of_a)).json(),
            "portal": (await admin.get("/v1/portal-sessions", params=of_a)).json(),
            "audit": [
                entry for entry in audit if entry["key_id"] != "admin"
            ],  # without those of reading the secret here
            "types": (await admin.get("/v1/event-types")).json(),
            "keys": [key["id"] for key in (await admin.get("/v1/keys")).json()["items"] if not key["revoked_at"]],
        }


@pytest.fixture
async def two(instance: Instance) -> AsyncIterator[Two]:
    theirs = f"{instance.tenant}-b"
    keys = [await make_key(instance, tenant, rate_limit="10000/second") for tenant in (instance.tenant, theirs)]
    async with calling(instance.app, keys[0]["key"]) as a, calling(instance.app, keys[1]["key"]) as b:
        await instance.http.post("/v1/event-types", json={"name": TYPE, "description": "A customer has paid."})
        await a.post("/v1/suppressions", json={"address": ADDRESS})
        hook = (await a.post("/v1/webhooks", json=HOOK)).json()["id"]
        event = (await a.post("/v1/events", json={"type": TYPE, "deliver_at": TOMORROW})).json()["id"]
        schedule = (await a.post("/v1/schedules", json=NEVER)).json()["id"]
        recovery = (await a.post("/v1/recoveries", json={"since": TODAY})).json()["id"]
        session = (await a.post("/v1/portal-links", json={})).json()["id"]
        fixtures = {
            "session_id": session,
            "webhook_id": hook,
            "recovery_id": recovery,
            "schedule_id": schedule,
            "event_id": event,
            "address": ADDRESS,
            "name": TYPE,
            "key_id": keys[0]["id"],
            "tenant_id": instance.tenant,
            "token": (await a.post("/v1/forwards")).json()["token"],
        }
        bodies = {
            "POST /v1/webhooks": HOOK,
            "PATCH /v1/webhooks/{webhook_id}": {"name": "taken over"},
            "POST /v1/webhooks/preview": {"webhook_id": hook},
            "POST /v1/webhooks/{webhook_id}/recover": {"since": TODAY},
            "POST /v1/recoveries": {"since": TODAY},
            "POST /v1/suppressions": {"address": "bob@acme.example"},
            "POST /v1/events": {"type": TYPE},
            "POST /v1/events/batch": {"events": [{"type": TYPE}]},
            "POST /v1/events/{event_id}/reschedule": {"deliver_at": TOMORROW},
            "POST /v1/bulk": {"action": "acknowledge"},
            "POST /v1/schedules": NEVER,
            "PATCH /v1/schedules/{schedule_id}": {"name": "taken over"},
            "POST /v1/schedules/{schedule_id}/backfill": NOBODYS_PERIOD,
            "PUT /v1/search-keys": {"paths": ["order_id"]},
            "POST /v1/tenants": {"id": f"{instance.tenant}-c"},
            "PUT /v1/tenants/{tenant_id}": {"name": "taken over"},
            "PATCH /v1/tenants/{tenant_id}": {"name": "taken over"},
            "POST /v1/event-types": {"name": "order.new"},
            "PATCH /v1/event-types/{name}": {"description": "changed"},
            "POST /v1/portal-links": {"name": "mine"},
            "PATCH /v1/forwards/{token}": {"id": "0" * 32, "status": 200},
            "POST /v1/keys": {"name": "mine", "tenant": instance.tenant},
        }
        two = Two(instance, a, b, theirs, fixtures, bodies)
        yield two


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_every_route_is_classified(instance: Instance) -> None:
    assert set(KINDS) == set(guarded(instance.app))


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_no_route_shows_or_changes_an_object_of_another_tenant(two: Two) -> None:
    """Setup: tenant A has an object of each kind.
    Timeline: tenant B's key calls every route of the app with A's ids; then again, naming tenant A wherever it can.
    Proves: 403 or 404, or a list without A's; nothing of A's has changed, nor what all tenants share.
    """
    before = await two.everything()
    for route in guarded(two.instance.app):
        own, named = await two.call(two.b, route), await two.call(two.b, route, tenant=two.mine)
        match KINDS[route]:
            case "object":
                problem(own, 404)
                problem(named, 404)
            case "lists":
                assert {item["tenant"] for item in own.json()["items"]} <= {two.theirs}, route
                problem(named, 403)
            case "own":
                assert [item["id"] for item in own.json()["items"]] == [two.theirs]
            case "makes" if route.endswith("/batch"):
                assert [item["status"] for item in own.json()["items"]] == [202]
                assert [item["status"] for item in named.json()["items"]] == [403]
            case "makes":
                assert own.json()["tenant"] == two.theirs, route
                assert f"bound to tenant {two.theirs}" in problem(named, 403)["detail"], route
            case "admin":
                problem(own, 403)
                problem(named, 403)
            case "forward":
                problem(named, 404)
            case "stream":  # `test_stream` reads it
                problem(own, 400)
                problem(named, 403)
            case "global":
                assert own.status_code == 200, route
        if KINDS[route] != MAKES:
            assert before["secret"]["secret"] not in own.text + named.text, route
            assert two.fixtures["webhook_id"] not in own.text + named.text, route
    assert await two.everything() == before


async def test_the_same_calls_are_open_to_the_owner(two: Two) -> None:
    """Otherwise the test above could pass for a reason of its own. What removes comes last."""
    routes = sorted(
        guarded(two.instance.app),
        key=lambda route: (
            *(route.startswith(removes) for removes in ("DELETE /v1/tenants", "DELETE")),
            route.endswith("/cancel"),
        ),
    )
    for route in routes:
        if KINDS[route] == FORWARD:
            continue
        caller = two.instance.http if KINDS[route] == ADMIN else two.a
        answer = await two.call(caller, route, tenant=two.mine)
        assert answer.is_success or answer.status_code == (400 if KINDS[route] == STREAM else 409), (
            f"{route} {answer.text}"
        )


# What the walk cannot know


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_a_list_shows_a_tenant_its_own_objects_only(two: Two) -> None:
    made = (await two.b.post("/v1/webhooks", json=HOOK)).json()
    sent = (await two.b.post("/v1/events", json={"type": TYPE})).json()
    await two.b.post("/v1/suppressions", json={"address": ADDRESS})
    assert [item["id"] for item in (await two.b.get("/v1/webhooks")).json()["items"]] == [made["id"]]
    assert [event["id"] for event in (await two.b.get("/v1/events")).json()["items"]] == [sent["id"]]
    assert [entry["tenant"] for entry in (await two.b.get("/v1/suppressions")).json()["items"]] == [two.theirs]
    for path in ("/v1/webhooks", "/v1/events", "/v1/suppressions"):
        everyones = {item["tenant"] for item in (await two.instance.http.get(path)).json()["items"]}
        assert everyones >= {two.mine, two.theirs}, path
    webhook = two.fixtures["webhook_id"]
    assert (await two.b.get("/v1/events", params={"webhook": webhook})).status_code == 422


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_two_tenants_can_use_the_same_event_id(two: Two) -> None:
    """Two tenants may use the same event id, and neither sees the other's event, nor that there is one."""
    event_id = two.fixtures["event_id"]
    answer = await two.b.post("/v1/events", json={"type": TYPE, "id": event_id, "data": {"of": "b"}})
    assert (answer.status_code, answer.json()["tenant"]) == (202, two.theirs)
    assert (await two.b.get(f"/v1/events/{event_id}")).json()["data"] == {"of": "b"}
    assert (await two.a.get(f"/v1/events/{event_id}")).json()["data"] == {}
    assert (await two.b.delete(f"/v1/suppressions/{ADDRESS}")).status_code == 404


async def test_an_object_of_another_tenant_looks_like_an_unknown_one(two: Two) -> None:
    webhook, nowhere = two.fixtures["webhook_id"], "wh_nowhere"
    for suffix, method in (("", "GET"), ("/secret", "GET"), ("/test", "POST"), ("", "DELETE")):
        theirs, none = [await two.b.request(method, f"/v1/webhooks/{id_}{suffix}") for id_ in (webhook, nowhere)]
        assert (theirs.status_code, theirs.json()) == (none.status_code, none.json()) == (404, none.json())
    for query in ({}, {"tenant": two.mine}):
        answers = [await two.b.get(f"/v1/events/{id_}", params=query) for id_ in (two.fixtures["event_id"], "e")]
        assert answers[0].json() == answers[1].json()


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_the_tenant_of_each_event_of_a_batch_is_checked_alone(two: Two) -> None:
    events = [{"type": TYPE}, {"type": TYPE, "tenant": two.mine}, {"type": TYPE, "tenant": two.theirs}, {"bad": 1}]
    items = (await two.b.post("/v1/events/batch", json={"events": events})).json()["items"]
    assert [item["status"] for item in items] == [202, 403, 202, 422]
    assert [item["event"]["tenant"] for item in items if item["event"]] == [two.theirs] * 2


async def test_a_preview_of_a_webhook_of_another_tenant_is_refused(two: Two) -> None:
    preview = {"webhook": HOOK | {"tenant": two.mine}}
    problem(await two.b.post("/v1/webhooks/preview", json=preview), 403)
    shown = await two.b.post("/v1/webhooks/preview", json={"webhook": HOOK})
    assert shown.status_code == 200


async def test_a_key_for_all_tenants_names_one_only_if_several_have_the_event(two: Two) -> None:
    key = await make_key(two.instance, None)
    async with calling(two.instance.app, key["key"]) as http:
        assert (await http.post("/v1/webhooks", json=HOOK)).json()["tenant"] == "default"
        assert (await http.get(f"/v1/webhooks/{two.fixtures['webhook_id']}")).status_code == 200
        event_id = (await two.a.post("/v1/events", json={"type": TYPE})).json()["id"]
        assert (await http.get(f"/v1/events/{event_id}")).json()["tenant"] == two.mine
        assert (await http.post(f"/v1/events/{event_id}/redeliver")).status_code == 202
        problem(await http.delete(f"/v1/events/{event_id}/data"), 404)
        problem(await http.get("/v1/events/unknown"), 404)

        await two.b.post("/v1/events", json={"type": TYPE, "id": event_id})
        for command in COMMANDS:
            problem(await http.post(f"/v1/events/{event_id}/{command}"), 422)
        answer = problem(await http.get(f"/v1/events/{event_id}"), 422)
        assert answer["errors"][0]["path"] == "tenant"
        assert {two.mine, two.theirs} <= set(answer["errors"][0]["detail"].replace(",", "").split())
        for tenant in (two.mine, two.theirs):
            found = await http.get(f"/v1/events/{event_id}", params={"tenant": tenant})
            assert found.json()["tenant"] == tenant

        await http.post("/v1/events", json={"type": TYPE, "id": event_id})
        assert (await http.get(f"/v1/events/{event_id}")).json()["tenant"] == "default"
