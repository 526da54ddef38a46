"""Who sees which page: each declares its scopes, needs a session, and takes no form without its proof."""

import asyncio
import re

import httpx
import pytest
from browsers import Browser, Page, browsing
from callers import make_key
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from test_access import key_with

from api.access import scopes_of
from dashboard.rendering import VISITOR
from dashboard.routes import PageRoute
from hookkeeper.services.caller import SCOPES
from instances import Instance

NEEDS = {
    "GET /": "events:read webhooks:read",
    "GET /events": "events:read",
    "GET /events/{event_id}": "events:read",
    "POST /events/{event_id}/{command}": "events:write",
    "POST /events/{event_id}/acknowledge": "events:write",
    "POST /events/bulk": "events:write",
    "GET /events/{event_id}/deliveries/{delivery}/request": "webhooks:read",
    "POST /events/{event_id}/deliveries/{delivery}/request/curl": "webhooks:secrets webhooks:write",
    "GET /events/export.{kind}": "events:read",
    "GET /webhooks/export.{kind}": "webhooks:read",
    "GET /webhooks/{webhook_id}/deliveries/export.{kind}": "events:read",
    "GET /audit/export.{kind}": "admin",
    "GET /live": "events:read",
    "GET /logo": "events:read webhooks:read",
    "GET /event-types": "events:read webhooks:read",
    "POST /event-types/{name}/send": "events:write",
    "GET /tenants/new": "admin",
    "POST /tenants/new": "admin",
    "GET /tenants/{tenant_id}/edit": "admin",
    "POST /tenants/{tenant_id}/edit": "admin",
    "POST /tenants/{tenant_id}/delete": "admin",
    "GET /event-types/new": "admin",
    "POST /event-types/new": "admin",
    "GET /event-types/{name}/edit": "admin",
    "POST /event-types/{name}/edit": "admin",
    "POST /event-types/{name}/{command}": "admin",
    "GET /schedules": "events:read",
    "GET /schedules/new": "events:write",
    "POST /schedules/new": "events:write",
    "GET /schedules/{schedule_id}/edit": "events:write",
    "POST /schedules/{schedule_id}/edit": "events:write",
    "POST /schedules/{schedule_id}/delete": "events:write",
    "POST /schedules/{schedule_id}/{command}": "events:write",
    "GET /recoveries": "events:read",
    "GET /recoveries/{recovery_id}": "events:read",
    "POST /recoveries/start": "events:write",
    "POST /recoveries/{recovery_id}/{command}": "events:write",
    "GET /suppressions": "webhooks:read",
    "POST /suppressions/add": "webhooks:write",
    "POST /suppressions/remove": "webhooks:write",
    "GET /doctor": "admin",
    "GET /issues": "events:read",
    "GET /limits": "events:read webhooks:read",
    "GET /keys": "admin",
    "POST /keys/create": "admin",
    "POST /keys/revoke": "admin",
    "GET /keys/portal-links": "admin",
    "POST /keys/portal-links/create": "admin",
    "POST /keys/portal-links/end": "admin",
    "GET /audit": "admin",
    "GET /webhooks": "webhooks:read",
    "GET /webhooks/{webhook_id}": "webhooks:read",
    "GET /webhooks/{webhook_id}/deliveries": "events:read",
    "GET /webhooks/{webhook_id}/settings": "webhooks:read",
    "GET /webhooks/{webhook_id}/test": "webhooks:read",
    "GET /webhooks/{webhook_id}/verify": "webhooks:read",
    "POST /webhooks/{webhook_id}/{command}": "webhooks:write",
    "POST /webhooks/{webhook_id}/delete": "webhooks:write",
    "POST /webhooks/{webhook_id}/test": "webhooks:write",
    "POST /webhooks/{webhook_id}/preview": "webhooks:read",
    "POST /webhooks/{webhook_id}/secret": "webhooks:secrets webhooks:write",
    "POST /webhooks/{webhook_id}/rotate-secret": "webhooks:write",
    "POST /webhooks/{webhook_id}/recover": "events:write",
    "GET /webhooks/new": "webhooks:write",
    "POST /webhooks/new": "webhooks:write",
    "POST /webhooks/new/preview": "webhooks:write",
    "GET /webhooks/{webhook_id}/edit": "webhooks:write",
    "POST /webhooks/{webhook_id}/edit": "webhooks:write",
    "POST /webhooks/{webhook_id}/edit/preview": "webhooks:write",
}
"""What each page takes, written down a second time, as for the routes of the API."""
NOT_IN_PORTAL = {
    "GET /schedules/new",
    "POST /schedules/new",
    "GET /schedules/{schedule_id}/edit",
    "POST /schedules/{schedule_id}/edit",
    "POST /schedules/{schedule_id}/delete",
}
"""What also needs a key."""
LET_IN = (200, 303, 400, 404, 422)
"""How a page answers a caller with its scope to a request without anything that it needs."""
ALLOWED = {"default-src": "'none'", "base-uri": "'none'", "frame-ancestors": "'none'"}


def pages(app: FastAPI) -> dict[str, frozenset[str]]:
    return {
        f"{method} {context.path}": scopes_of(context.original_route)
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, PageRoute)
        for method in context.methods or ()
    }


def path_of(route: str) -> str:
    return re.sub(r"\{\w+\}", "nowhere", route.split()[1])


async def request(browser: Browser, route: str, proof: str) -> httpx.Response:
    """Make a request of a page or of a form by hand. The stream would not end: its place to begin at is a bad one."""
    method = route.split()[0]
    data, headers = {"proof": proof} if method == "POST" else None, {"last-event-id": "nowhere"}
    return await browser.http.request(method, path_of(route), data=data, headers=headers)


@pytest.mark.promise("docs/dashboard.md")
async def test_every_page_is_in_the_table(instance: Instance) -> None:
    assert {route: " ".join(sorted(scopes)) for route, scopes in pages(instance.app).items()} == NEEDS


async def test_no_page_is_part_of_the_api(instance: Instance) -> None:
    paths = (await instance.http.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if not path.startswith(("/v1/", "/healthz", "/readyz", "/codec", "/metrics"))]


@pytest.mark.promise("docs/dashboard.md")
async def test_a_page_needs_a_session_and_a_key_is_none(instance: Instance) -> None:
    async with browsing(instance.app, key=None, address="192.0.2.46") as browser:
        for route in NEEDS:
            answer = await browser.http.request(route.split()[0], path_of(route))
            assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login"), route
    answer = await instance.http.get("/events")
    assert answer.status_code == 303


@pytest.mark.promise("docs/dashboard.md")
@pytest.mark.parametrize("scope", SCOPES)
async def test_a_scope_opens_its_pages_and_no_others(idle_instance: Instance, scope: str) -> None:
    async with browsing(idle_instance.app, await key_with(idle_instance, scope)) as browser:
        token = re.search(r'name="proof" value="(\w+)"', (await browser.get("/events")).text)
        for route, needed in NEEDS.items():
            answer = await request(browser, route, token[1] if token else "")
            if scope in needed.split():
                assert answer.status_code in LET_IN, route
            else:
                assert answer.status_code == 403, route
                assert "lacks the scope" in answer.text, route


@pytest.mark.promise("docs/dashboard.md")
@pytest.mark.parametrize("proof", ["", "0" * 64, "ü"])
async def test_a_form_without_its_proof_changes_nothing(instance: Instance, proof: str) -> None:
    event, webhook = await instance.send(), await instance.webhook("http://127.0.0.1:9000/")
    async with browsing(instance.app) as browser:
        for route in NEEDS:
            if route.startswith("POST"):
                path = route.split()[1].replace("{event_id}", event["id"]).replace("{webhook_id}", webhook["id"])
                answer = await browser.http.post(f"{path}?tenant={instance.tenant}", data={"proof": proof})
                assert answer.status_code == 403, route
                assert "not made for your session" in answer.text
    assert (await instance.event(event["id"]))["status"] == "no_webhook"
    assert (await instance.http.get(f"/v1/webhooks/{webhook['id']}")).json()["paused_at"] is None


async def test_the_proof_of_another_session_is_none(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    async with browsing(instance.app) as mine, browsing(instance.app, key["key"]) as theirs:
        answer = await mine.http.post("/events/evt_1/retry", data={"proof": await theirs.proof("/events")})
        assert answer.status_code == 403


async def policy_of(browser: Browser, path: str) -> dict[str, str]:
    answer = await browser.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    return dict(part.split(maxsplit=1) for part in answer.headers["content-security-policy"].split("; "))


@pytest.mark.promise("docs/dashboard.md")
@pytest.mark.parametrize("path", ["/", "/events", "/webhooks", "/webhooks/new", "/login", "/events/nowhere"])
async def test_a_page_runs_nothing_but_our_script(idle_instance: Instance, path: str) -> None:
    async with browsing(idle_instance.app) as browser:
        policy = await policy_of(browser, path)
        html = (await browser.get(path)).text
    assert policy.items() >= ALLOWED.items()
    assert set(policy.values()) == {"'none'", "'self'"}
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", html)


async def test_a_form_has_a_limit(instance: Instance) -> None:
    async with browsing(instance.app) as browser:
        assert (await browser.http.post("/events/e/retry", content=b"a=" + b"x" * 70_000)).status_code == 413
        assert (await browser.http.post("/events/e/retry", content=b"&".join([b"a=1"] * 200))).status_code == 400
        assert (await browser.http.post("/login", content=b"a=" + b"x" * 5_000)).status_code == 413


async def test_pages_of_one_tenant_keep_no_thread_from_another(instance: Instance) -> None:
    """Setup: one tenant renders as many pages as it may. Proves: its next page waits, another's does not."""
    busy, other = await make_key(instance, "busy"), await make_key(instance, "other")
    rendering = instance.app.state.api.rendering
    async with browsing(instance.app, busy["key"]) as busy_one, browsing(instance.app, other["key"]) as calm:
        held = 0
        while rendering.acquire_now("busy"):
            held += 1
        assert held == 2
        waiting = asyncio.create_task(busy_one.get("/events"))
        assert (await calm.get("/events")).status_code == 200
        assert not waiting.done()
        rendering.release("busy", held)
        assert (await waiting).status_code == 200


async def test_visitors_without_a_session_keep_no_thread_from_readers(instance: Instance) -> None:
    rendering = instance.app.state.api.rendering
    async with browsing(instance.app) as operator, browsing(instance.app, key=None) as visitor:
        held = 0
        while rendering.acquire_now(VISITOR):
            held += 1
        waiting = asyncio.create_task(visitor.get("/login"))
        assert (await operator.get("/events")).status_code == 200
        assert not waiting.done()
        rendering.release(VISITOR, held)
        assert (await waiting).status_code == 200


async def test_static_files_are_kept_by_their_version(instance: Instance) -> None:
    async with browsing(instance.app, key=None) as browser:
        html = (await browser.get("/login")).text
        urls = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', html))
        assert {url.partition("?")[0] for url in urls} == {
            "/static/pages.css",
            "/static/pages.js",
            "/static/times.js",
            "/static/icon.svg",
        }
        for url in urls:
            answer = await browser.get(url)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            assert "//" not in re.sub(r"//.*|http://www\.w3\.org/2000/svg", "", answer.text), "no other host"
            path = url.partition("?")[0]
            current = await browser.get(path)
            assert current.headers["cache-control"] == "no-cache"
            again = await browser.http.get(path, headers={"if-none-match": current.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        for path in ("/static/none.css", "/static/..%2fapp.py", "/static/__init__.py"):
            assert (await browser.get(path)).status_code == 404


async def test_an_unknown_address_has_a_page_for_readers_only(instance: Instance) -> None:
    reader = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with browsing(instance.app) as browser:
        for path in ("/nowhere", "/webhooks/"):
            answer = await browser.http.get(path, headers=reader)
            assert (answer.status_code, "There is no page at this address." in answer.text) == (404, True)
            assert "/" in Page(answer.text).links()
            assert (await browser.get(path)).json()["status"] == 404
        assert (await browser.http.get("/v1/nowhere", headers=reader)).json()["status"] == 404
