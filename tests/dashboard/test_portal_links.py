"""Links to the portal: who may make them, that each opens once, and that a session can do what its link says."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsers import Browser, Form, browsing
from callers import calling, make_key
from problems import problem
from structlog.testing import capture_logs
from temporalio.client import Client
from test_access import key_with
from test_page_access import LET_IN, NEEDS, NOT_IN_PORTAL, request

import dashboard
from api.app import UNTRACED, telemetry
from api.sessions import REMEMBERED, SESSION
from hookkeeper.crypto.tokens import is_token, new_token
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.api_keys import new_key
from hookkeeper.times import utc_now
from instance_parts import new_app
from instances import Instance, running_instance
from timeouts import FutureClock, within_a_minute

CAPABILITIES = {
    "view": {"events:read", "webhooks:read"},
    "view_secrets": {"webhooks:secrets"},
    "manage_webhooks": {"webhooks:write"},
    "redeliver": {"events:write"},
}
FURTHER = ["schedules", "recoveries", "suppressions", "limits"]
LINKS, SESSIONS = "/v1/portal-links", "/v1/portal-sessions"


async def make_link(instance: Instance, http: httpx.AsyncClient | None = None, **fields: Any) -> dict[str, Any]:
    answer = await (http or instance.http).post(LINKS, json={"tenant": instance.tenant, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def path_in(link: dict[str, Any]) -> str:
    return httpx.URL(link["url"]).path


async def press(browser: Browser, link: dict[str, Any]) -> httpx.Response:
    """Open the link and press its button."""
    return await browser.submit(path_in(link), path_in(link))


@asynccontextmanager
async def visiting(instance: Instance, **fields: Any) -> AsyncIterator[tuple[Browser, dict[str, Any]]]:
    """Return a browser with the session of a new link."""
    link = await make_link(instance, **fields)
    async with browsing(instance.app, key=None) as browser:
        answer = await press(browser, link)
        assert (answer.status_code, answer.headers["location"]) == (303, link["path"])
        yield browser, link


async def listed(instance: Instance) -> dict[str, dict[str, Any]]:
    answer = await instance.http.get(SESSIONS, params={"tenant": instance.tenant})
    return {item["id"]: item for item in answer.json()["items"]}


async def actions(instance: Instance) -> list[tuple[str, str]]:
    """Return the portal's entries of the audit log, oldest first: action and key."""
    items = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
    return [(item["action"], item["key_id"]) for item in items[::-1] if item["action"].startswith("portal")]


# A link opens once


@pytest.mark.promise("docs/dashboard.md")
async def test_a_link_begins_a_session_when_its_button_is_pressed(instance: Instance) -> None:
    link = await make_link(instance, name="ann@acme.example", path="/webhooks", session_lifetime=900)
    async with browsing(instance.app, key=None) as browser:
        for _ in range(3):  # previews of a mail server, say
            shown = await browser.get(path_in(link))
            assert (shown.status_code, SESSION.name in str(shown.headers)) == (200, False)
        assert (await listed(instance))[link["id"]]["status"] == "open"
        answer = await press(browser, link)
        assert (answer.status_code, answer.headers["location"]) == (303, "/webhooks")
        (cookie,) = [value for value in answer.headers.get_list("set-cookie") if value.startswith(SESSION.name)]
        for part in ("HttpOnly", "SameSite=strict"):
            assert part in cookie
        assert 890 < int(re.findall(r"Max-Age=(\d+)", cookie)[0]) - REMEMBERED.total_seconds() <= 900
        assert "ann@acme.example" in (await browser.page("/webhooks")).text
    session = (await listed(instance))[link["id"]]
    assert (session["status"], session["capabilities"], session["key_id"]) == ("active", ["view"], "admin")
    assert session["opened_at"]
    assert await actions(instance) == [("portal-link.create", "admin"), ("portal-link.open", link["id"])]


@pytest.mark.promise("docs/dashboard.md")
async def test_a_used_link_opens_nothing(instance: Instance) -> None:
    link = await make_link(instance)
    async with browsing(instance.app, key=None) as first, browsing(instance.app, key=None) as second:
        proof = await second.proof(path_in(link))
        assert (await press(first, link)).status_code == 303
        for answer in (
            await second.get(path_in(link)),
            await second.http.post(path_in(link), data={"proof": proof}),
        ):
            assert (answer.status_code, SESSION.name in str(answer.headers)) == (410, False)
            assert "has been used" in answer.text
        assert (await second.get("/events")).status_code == 303


async def test_only_one_of_many_simultaneous_requests_opens_a_link(
    temporal: Client, tmp_path: Path, database_url: str
) -> None:
    """On SQLite and PostgreSQL."""
    async with running_instance(temporal, tmp_path, database_url=database_url) as instance:
        link = await make_link(instance)
        async with browsing(instance.app, key=None) as browser:
            proof = await browser.proof(path_in(link))
            answers = await asyncio.gather(*(browser.http.post(path_in(link), data={"proof": proof}) for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [303] + [410] * 5
        assert sum(SESSION.name in str(answer.headers) for answer in answers) == 1
        assert [action for action, _ in await actions(instance)] == ["portal-link.create", "portal-link.open"]


async def test_the_registry_has_a_digest_only(instance: Instance) -> None:
    link = await make_link(instance)
    token = path_in(link).removeprefix("/portal/")
    assert is_token(token)
    kept = Path(instance.settings.database_url.removeprefix("sqlite+aiosqlite:///"))
    for file in kept.parent.iterdir():
        assert token.encode() not in file.read_bytes()
    assert token not in str(await listed(instance))


@pytest.mark.promise("docs/dashboard.md")
async def test_links_and_sessions_expire(instance: Instance, clock: FutureClock) -> None:
    late, short = await make_link(instance, link_lifetime=60), await make_link(instance, session_lifetime=60)
    async with browsing(instance.app, key=None) as browser:
        await press(browser, short)
        clock.passes(61)
        answer = await browser.get(path_in(late))
        assert (answer.status_code, "has expired" in answer.text) == (410, True)
        # A copy of the cookie is no better: the registry knows when the session ends.
        copy = SESSION.token(short["id"], instance.settings, utc_now())
        answer = await browser.http.get("/events", headers={"cookie": f"{SESSION.name}={copy}"})
        assert answer.headers["location"].startswith("/login")
    assert [item["status"] for item in (await listed(instance)).values()] == ["expired", "expired"]


async def test_an_unopened_link_is_no_session(instance: Instance) -> None:
    link = await make_link(instance)
    token = SESSION.token(link["id"], instance.settings, utc_now())
    async with browsing(instance.app, key=None) as browser:
        answer = await browser.http.get("/events", headers={"cookie": f"{SESSION.name}={token}"})
        assert answer.headers["location"].startswith("/login")


async def test_unknown_links_are_limited_by_address_as_bad_keys(instance: Instance) -> None:
    async with browsing(instance.app, key=None, address="192.0.2.78") as browser:
        await within_a_minute()
        answers = [await browser.get(path) for path in ["/portal/x", f"/portal/{new_token()}"] * 11]
        assert [answer.status_code for answer in answers] == [404] * 20 + [429] * 2
        assert "This link is unknown" in answers[0].text
        headers = {"authorization": f"Bearer {new_key()}"}
        api = await asyncio.gather(*(browser.http.get("/v1/webhooks", headers=headers) for _ in range(20)))
        assert 429 in {answer.status_code for answer in api}, "links, pages and the API share the limit"


@pytest.mark.parametrize("proof", ["", "0" * 64, "ü"])
async def test_another_site_opens_no_link(instance: Instance, proof: str) -> None:
    link = await make_link(instance)
    async with browsing(instance.app, key=None) as browser:
        await browser.get(path_in(link))
        answer = await browser.http.post(path_in(link), data={"proof": proof})
        assert (answer.status_code, SESSION.name in str(answer.headers)) == (403, False)
    assert (await listed(instance))[link["id"]]["status"] == "open"


# What a session may do


@pytest.mark.parametrize("capability", CAPABILITIES)
async def test_a_capability_opens_its_pages_and_commands_and_no_others(instance: Instance, capability: str) -> None:
    """Each page and form is tried by a request of its own, whatever the pages offer."""
    scopes = CAPABILITIES["view"] | CAPABILITIES[capability]
    async with visiting(instance, capabilities=[capability], pages=FURTHER) as (browser, _):
        proof = await browser.proof("/events")
        for route, needed in NEEDS.items():
            answer = await request(browser, route, proof)
            if scopes & set(needed.split()) and route not in NOT_IN_PORTAL:
                assert answer.status_code in LET_IN, route
            else:
                assert answer.status_code == 403, route
                assert "Your link does not allow this." in answer.text, route


async def test_a_link_has_few_pages_and_those_that_it_names(instance: Instance) -> None:
    usual = {"/", "/events", "/issues", "/webhooks", "/event-types"}
    problem(await instance.http.post(LINKS, json={"path": "/limits"}), 422, "path")
    for pages in ([], ["limits"]):
        async with visiting(instance, pages=pages) as (browser, link):
            links = (await browser.page("/")).links()
            assert {path for path in links if re.fullmatch(r"/[a-z-]*", path)} == usual | {f"/{page}" for page in pages}
            for page in FURTHER:
                assert (await browser.get(f"/{page}")).status_code == (200 if page in pages else 404), page
        assert (await listed(instance))[link["id"]]["pages"] == pages


@pytest.mark.promise("docs/dashboard.md")
async def test_a_session_shows_and_changes_what_its_link_says(instance: Instance) -> None:
    hook = await instance.webhook("http://127.0.0.1:9000/")
    page, secret = f"/webhooks/{hook['id']}", hook["secret"]
    async with visiting(instance) as (browser, _):
        assert (await browser.page(page)).actions() == ["/logout"]
        for command in ("pause", "secret", "rotate-secret", "recover"):
            answer = await browser.submit(page, f"{page}/{command}", last="1h")
            assert (answer.status_code, secret in answer.text) == (403, False)
    async with visiting(instance, capabilities=["view_secrets"]) as (browser, _):
        assert (await browser.page(f"{page}/settings")).actions() == ["/logout", f"{page}/secret"]
        assert secret in (await browser.submit(page, f"{page}/secret")).text
        assert (await browser.submit(page, f"{page}/rotate-secret")).status_code == 403
    assert (await instance.http.get(f"/v1{page}")).json()["paused_at"] is None
    async with visiting(instance, capabilities=["manage_webhooks"]) as (browser, link):
        assert (await browser.submit_as_shown(f"{page}/settings", f"{page}/disable")).headers[
            "location"
        ] == f"{page}?done=disable"
        assert (await instance.http.get(f"/v1{page}")).json()["disabled_reason"] == "manual"
        assert f"{page}/disable" not in (await browser.page(f"{page}/settings")).actions()
        assert (await browser.submit_as_shown(page, f"{page}/enable")).status_code == 303
        assert (await instance.http.get(f"/v1{page}")).json()["enabled"] is True
        assert (await browser.submit(page, f"{page}/pause")).status_code == 303
    assert (await instance.http.get(f"/v1{page}")).json()["paused_at"]
    entry = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"][0]
    assert (entry["action"], entry["key_id"]) == ("webhook.pause", link["id"])


async def test_a_customer_is_shown_no_commands_of_operators(instance: Instance) -> None:
    for capability, registers in (("view", False), ("manage_webhooks", True)):
        async with visiting(instance, capabilities=[capability], pages=FURTHER) as (browser, _):
            page = await browser.page("/")
            assert "There is no event yet." in page.text
            assert ("/webhooks/new" in page.links()) is registers
            schedules = await browser.page("/schedules")
            for text in ("curl", "HOOKKEEPER_API_KEY", "/v1/"):
                assert text not in page.text + schedules.text


async def test_a_customer_tests_with_a_type_of_the_catalogue(instance: Instance) -> None:
    hook = await instance.webhook("http://127.0.0.1:9000/", events=["order.*"])
    path = f"/webhooks/{hook['id']}/test"
    async with visiting(instance, capabilities=["manage_webhooks"]) as (browser, _):
        assert Form((await browser.get(path)).text, path).fields["type"] == "hookkeeper.test", "there is no other"
        made = await instance.http.post("/v1/event-types", json={"name": "order.paid"})
        assert made.status_code == 201
        page = await browser.get(path)
        assert Form(page.text, path).fields["type"] == "order.paid"
        assert "hookkeeper.test" not in page.text


@pytest.mark.promise("docs/dashboard.md")
async def test_another_tenant_sees_nothing(instance: Instance) -> None:
    hook = await instance.webhook("http://127.0.0.1:9000/", name="ours")
    every = list(CAPABILITIES)
    async with visiting(instance, tenant="other", capabilities=every, pages=FURTHER) as (browser, _):
        assert "ours" not in (await browser.page("/webhooks")).text
        assert (await browser.get(f"/webhooks/{hook['id']}")).status_code == 404
        for command in ("pause", "secret", "rotate-secret", "test"):
            answer = await browser.submit("/webhooks", f"/webhooks/{hook['id']}/{command}")
            assert answer.status_code == 404, command
        for path in ("/webhooks", "/events", "/schedules", "/"):
            answer = await browser.get(f"{path}?tenant={instance.tenant}")
            assert answer.status_code == 403, path
    assert (await instance.http.get(f"/v1/webhooks/{hook['id']}")).json()["paused_at"] is None


async def test_a_session_is_no_key_of_the_api(instance: Instance) -> None:
    async with visiting(instance, capabilities=list(CAPABILITIES)) as (browser, link):
        token = path_in(link).removeprefix("/portal/")
        for header in ({}, {"authorization": f"Bearer {token}"}, {"authorization": f"Bearer {link['id']}"}):
            assert (await browser.http.get("/v1/events", headers=header)).status_code == 401
            assert (await browser.http.post(LINKS, json={}, headers=header)).status_code == 401


async def test_sessions_of_a_tenant_share_a_rate(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, rate_limit="3/day") as instance:
        async with visiting(instance) as (one, _), visiting(instance) as (two, _):
            statuses = [(await browser.get("/webhooks")).status_code for browser in (one, two, one, two)]
        async with visiting(instance, tenant="other") as (other, _):
            statuses.append((await other.get("/webhooks")).status_code)
    assert statuses == [200, 200, 200, 429, 200]


# Ends


async def test_a_revoked_session_ends_at_once_and_elsewhere_within_a_second(
    instance: Instance, clock: FutureClock
) -> None:
    other_store = Store.connect(instance.settings.database_url)
    other = new_app(instance.settings, other_store, instance.gateway)
    async with visiting(instance) as (here, link), browsing(other, key=None) as there:
        there.http.cookies.update(here.http.cookies)
        assert [(await browser.get("/events")).status_code for browser in (here, there)] == [200, 200]
        path = f"{SESSIONS}/{link['id']}"
        assert [(await instance.http.delete(path)).status_code for _ in range(2)] == [204, 204]
        assert (await here.get("/events")).headers["location"].startswith("/login")
        clock.passes(1.01)
        assert (await there.get("/events")).headers["location"].startswith("/login")
        assert "was revoked" in (await here.get(path_in(link))).text
    assert (await listed(instance))[link["id"]]["status"] == "revoked"
    assert (await actions(instance))[2:] == [("portal-session.revoke", "admin")], "once"
    await other.state.api.authenticator.aclose()
    await other_store.close()


async def test_a_revoked_link_opens_nothing(instance: Instance) -> None:
    link = await make_link(instance)
    async with browsing(instance.app, key=None) as browser:
        proof = await browser.proof(path_in(link))
        await instance.http.delete(f"{SESSIONS}/{link['id']}")
        answer = await browser.http.post(path_in(link), data={"proof": proof})
    assert (answer.status_code, "was revoked" in answer.text) == (410, True)


async def test_log_out_ends_a_session_for_good(instance: Instance) -> None:
    async with visiting(instance) as (browser, link):
        copy = dict(browser.http.cookies)
        await browser.submit("/events", "/logout")
        browser.http.cookies.update(copy)
        assert (await browser.get("/events")).headers["location"].startswith("/login")
    assert (await actions(instance))[-1] == ("portal-session.revoke", link["id"])


async def test_a_revoked_key_ends_its_links_and_their_sessions(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    async with calling(instance.app, key["key"]) as http, browsing(instance.app, key=None) as browser:
        used, unused = [await make_link(instance, http) for _ in range(2)]
        await press(browser, used)
        assert (await browser.get("/events")).status_code == 200
        await instance.http.delete(f"/v1/keys/{key['id']}")
        assert (await browser.get("/events")).headers["location"].startswith("/login")
        answer = await browser.get(path_in(unused))
        assert (answer.status_code, "was revoked" in answer.text) == (410, True)


# Who may make links


@pytest.mark.promise("docs/dashboard.md")
@pytest.mark.parametrize("capability", CAPABILITIES)
async def test_a_key_cannot_exceed_its_scopes(instance: Instance, capability: str) -> None:
    reader = ["webhooks:write", "webhooks:read", "events:read"]
    narrow = await make_key(instance, instance.tenant, scopes=reader)
    usual = await make_key(instance, instance.tenant)
    wanted = {"capabilities": [capability]}
    async with calling(instance.app, narrow["key"]) as http:
        answer = await http.post(LINKS, json=wanted)
        if capability == "redeliver":
            assert "events:write" in problem(answer, 403)["detail"]
        else:
            assert answer.status_code == 201
        problem(await http.post(LINKS, json=wanted | {"tenant": "other"}), 403)
    async with calling(instance.app, usual["key"]) as http:
        assert (await http.post(LINKS, json=wanted)).json()["tenant"] == instance.tenant
    async with calling(instance.app, await key_with(instance, "webhooks:write")) as http:
        problem(await http.post(LINKS, json=wanted), 403)
    async with calling(instance.app, await key_with(instance, "admin")) as http:
        assert (await http.post(LINKS, json=wanted)).status_code == 201


async def test_a_tenants_key_sees_and_revokes_its_own(instance: Instance) -> None:
    mine, theirs = await make_link(instance), await make_link(instance, tenant="other")
    key = await make_key(instance, instance.tenant)
    async with calling(instance.app, key["key"]) as http:
        assert [item["id"] for item in (await http.get(SESSIONS)).json()["items"]] == [mine["id"]]
        problem(await http.delete(f"{SESSIONS}/{theirs['id']}"), 404)
        assert (await http.delete(f"{SESSIONS}/{mine['id']}")).status_code == 204


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"capabilities": []}, "capabilities"),
        ({"capabilities": ["admin"]}, "capabilities.0"),
        ({"link_lifetime": 0}, "link_lifetime"),
        ({"link_lifetime": 86_401}, "link_lifetime"),
        ({"session_lifetime": 86_401}, "session_lifetime"),
        ({"session_lifetime": "60"}, "session_lifetime"),
        *(({"path": path}, "path") for path in ("//evil.test", "/\\evil.test", "https://evil.test/", "", "/v1/events")),
        *(({"path": path}, "path") for path in ("/logout", "/portal/x", "/events?status=failed", "/events/a/retry")),
        *(({"path": path}, "path") for path in ("/events/a\r\nb", "/events/a?b=c", "//evil", "/webhooks\n")),
        *(({"path": path}, "path") for path in ("/webhooks/new", "/keys")),  # pages that it would not open
    ],
    ids=str,
)
async def test_an_invalid_link_is_refused(idle_instance: Instance, fields: dict[str, Any], path: str) -> None:
    problem(await idle_instance.http.post(LINKS, json=fields), 422, path)
    assert (await idle_instance.http.get(SESSIONS)).json()["items"] == []


async def test_a_link_leads_to_each_page_that_its_capabilities_open(instance: Instance) -> None:
    link = await make_link(instance, capabilities=["manage_webhooks"], path="/webhooks/new")
    assert link["path"] == "/webhooks/new"


async def test_a_tenant_has_few_open_links_and_sessions(
    temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at once; what is over counts no longer, and is not kept for ever."""
    monkeypatch.setattr("hookkeeper.registry.tenants.portal.MAX_OPEN_SESSIONS", 3)
    async with running_instance(temporal, tmp_path) as instance:
        body = {"tenant": instance.tenant}
        answers = await asyncio.gather(*(instance.http.post(LINKS, json=body) for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 3
        assert "3 open links and sessions" in next(each.text for each in answers if each.status_code == 409)
        assert (await instance.http.post(LINKS, json={"tenant": "other"})).status_code == 201
        for _ in range(10):
            newest = next(iter(await listed(instance)))
            await instance.http.delete(f"{SESSIONS}/{newest}")
            await make_link(instance)
        found = await listed(instance)
    assert len(found) <= 6
    assert [item["status"] for item in found.values()].count("open") == 3


async def test_no_log_and_no_trace_has_a_link(
    instance: Instance, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with capture_logs() as lines:
        async with visiting(instance) as (browser, link):
            await browser.get(path_in(link))
            lost = Store.connect("postgresql+asyncpg://u@127.0.0.1:1/registry")
            app = new_app(instance.settings, lost, instance.gateway)
            async with browsing(app, key=None) as other:
                answer = await other.get(path_in(link))
                assert (answer.status_code, "cannot be checked right now" in answer.text) == (503, True)
            await lost.close()
    assert link["id"] in str(lines)
    ours = [record.getMessage() for record in caplog.records if record.name != "httpx"]  # which logs our requests
    assert path_in(link).removeprefix("/portal/") not in f"{lines} {ours} {capfd.readouterr()}"
    is_untraced = telemetry(UNTRACED + dashboard.EXTENSION.untraced)["exclude"]
    assert is_untraced is not None and is_untraced({"path": path_in(link)})
