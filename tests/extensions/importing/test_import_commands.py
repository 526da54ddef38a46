"""Moves: `hookkeeper import svix`, from a server with the documented form of its list routes, and `import convoy`."""

import asyncio
import base64
import itertools
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from processes import hookkeeper, process
from sockets import serving
from standardwebhooks import Webhook as StandardWebhook
from starlette.responses import JSONResponse
from svix.webhooks import Webhook

from cli.console import Failed
from extensions.importing.from_svix import Svix
from instances import KEY, Instance
from receivers import Answer, Receiver
from timeouts import WAIT_TIMEOUT, pauses

PATTERN = "must be an event type such as `order.paid`, a group of them such as `order.*`, or `*`"
CHANNEL = "must be words of letters, digits, `_` and `-`, joined by dots, such as `order.paid`"
TOKEN = "testsk_of-svix"
PAGE = 7
Json = dict[str, Any]
TIMES = {"createdAt": "2026-01-02T03:04:05Z", "updatedAt": "2026-01-02T03:04:05Z"}


def secret_of(number: int) -> str:
    return "whsec_" + base64.b64encode(bytes([number]) * 24).decode()


@dataclass
class Export:
    """The objects of a Svix server, in the form of its answers."""

    applications: list[Json]
    event_types: list[Json]
    endpoints: dict[str, list[Json]]
    secrets: dict[str, str]
    headers: dict[str, Json]
    refused: Counter[str] = field(default_factory=Counter)
    """How many further requests to a path are refused."""
    reached: dict[str, asyncio.Event] = field(default_factory=dict)
    """Paths whose requests get no answer, with an event that is set when a request arrives."""

    def page(self, rows: Sequence[Json], key: str, iterator: str | None) -> Json:
        """Return a page of rows after the one that the iterator names. An iterator is given on the last page too."""
        at = 1 + [row[key] for row in rows].index(iterator) if iterator else 0
        shown = rows[at : at + PAGE]
        done = at + PAGE >= len(rows)
        return {"data": shown, "iterator": shown[-1][key] if shown else None, "prevIterator": None, "done": done}


def export(url: str) -> Export:
    """Make 20 applications, 60 endpoints and 40 event types, with awkward cases."""
    types: list[Json] = [
        {"name": f"order.n{n}", "description": f"Größe {n}", "deprecated": False, **TIMES} for n in range(38)
    ]
    types[0] |= {"schemas": {"1": {"type": "object"}, "2": {"type": "object", "required": ["order"]}}}
    types[1] |= {"archived": True}
    types += [
        {"name": name, "description": "", "deprecated": deprecated, "featureFlag": None, **TIMES}
        for name, deprecated in (("order..twice", False), ("order.old", True))
    ]
    apps: list[Json] = [
        {"id": f"app_{n}", "uid": f"customer-{n}", "name": f"Kunde № {n}", "metadata": {"n": str(n)}, **TIMES}
        for n in range(20)
    ]
    apps[17] |= {"uid": None}
    apps[18] |= {"uid": "with.dots", "throttleRate": 5}
    apps[19] |= {"uid": "x" * 65}
    made = Export(apps, types, {}, {}, {})
    for n in range(60):
        id_ = f"ep_{n}"
        endpoint = {
            "id": id_,
            "uid": f"shop-{n}" if n % 2 else None,
            "url": url,
            "description": f"Endpoint {n}",
            "disabled": n % 10 == 9,
            "eventTypes": [f"order.n{n % 38}", "order.n2"] if n % 3 else None,
            "channels": ["project.1", "group_2"] if n % 4 == 3 else None,
            "metadata": {"team": "shop"} if n % 2 else {},
            "throttleRate": 50 if n % 5 == 4 else None,
            **TIMES,
        }
        made.endpoints.setdefault(f"app_{n % 20}", []).append(endpoint)
        made.secrets[id_] = secret_of(n)
        made.headers[id_] = {"headers": {"x-shop": str(n)} if n % 2 else {}, "sensitive": []}
    made.endpoints["app_0"][0] |= {"eventTypes": ["order.n0", "order..twice"]}
    made.endpoints["app_1"][0] |= {"eventTypes": ["order..twice"]}
    made.endpoints["app_2"][0] |= {"throttleRate": 5000, "uid": "with.dots"}
    made.endpoints["app_3"][0] |= {"channels": ["a..b"]}
    made.secrets["ep_4"] = "whpk_" + base64.b64encode(bytes(32)).decode()
    made.secrets["ep_5"] = "whsec_" + base64.b64encode(bytes(75)).decode()
    made.headers["ep_6"] = {"headers": {"cookie": "a=b", "x-kept": "1"}, "sensitive": ["authorization"]}
    return made


def svix_server(made: Export) -> FastAPI:
    app = FastAPI()

    @app.get("/api/v1/{path:path}")
    async def answer(request: Request, path: str) -> JSONResponse:
        if request.headers["authorization"] != f"Bearer {TOKEN}":
            return JSONResponse({"code": "authentication_failed", "detail": "Invalid token"}, 401)
        if path in made.reached:
            made.reached[path].set()
            while not await request.is_disconnected():
                await asyncio.sleep(0.02)
        if made.refused[path]:
            made.refused[path] -= 1
            return JSONResponse({"code": "rate_limited", "detail": ""}, 429)
        query = request.query_params
        assert query.get("order", "ascending") == "ascending"
        match path.split("/"):
            case ["app"]:
                return JSONResponse(made.page(made.applications, "id", query.get("iterator")))
            case ["event-type"]:
                assert (query["include_archived"], query["with_content"]) == ("true", "true")
                return JSONResponse(made.page(made.event_types, "name", query.get("iterator")))
            case ["app", app_id, "endpoint"]:
                return JSONResponse(made.page(made.endpoints[app_id], "id", query.get("iterator")))
            case ["app", _, "endpoint", endpoint_id, "headers"]:
                return JSONResponse(made.headers[endpoint_id])
            case ["app", _, "endpoint", endpoint_id, "secret"]:
                return JSONResponse({"key": made.secrets[endpoint_id]})
        return JSONResponse({"code": "not_found", "detail": ""}, 404)

    return app


@dataclass
class Move:
    made: Export
    instance: Instance
    source: str
    here: str
    folder: Path
    key: str = KEY

    def settings(self, token: str = TOKEN) -> dict[str, str]:
        return {"HOOKKEEPER_URL": self.here, "HOOKKEEPER_API_KEY": self.key, "SVIX_AUTH_TOKEN": token}

    async def run(self, *options: str, token: str = TOKEN) -> tuple[int, str, str]:
        """Run the command for Svix. Return exit code, output and errors."""
        return await self.command("svix", "--url", self.source, *options, token=token)

    async def command(self, *words: str, token: str = TOKEN) -> tuple[int, str, str]:
        """Run `hookkeeper import`."""
        done = await hookkeeper("import", *words, cwd=self.folder, settings=self.settings(token))
        return done.code, done.out, done.err

    async def json(self, *options: str) -> Json:
        code, out, err = await self.run("--json", *options)
        assert (code, err) == (1, "")  # two of the endpoints cannot be copied
        return json.loads(out)  # type: ignore[no-any-return]

    async def listed(self, path: str) -> list[Json]:
        """Return all objects of a list in our API."""
        found: list[Json] = []
        query: Json = {"limit": 100}
        while True:
            page = (await self.instance.http.get(f"/v1/{path}", params=query)).json()
            found += page["items"]
            if not (cursor := page["next_cursor"]):
                return found
            query["cursor"] = cursor

    async def state(self) -> Json:
        """Return all objects in our API, with their signing keys."""
        found: Json = {path: await self.listed(path) for path in ("tenants", "event-types", "webhooks")}
        for row in found["webhooks"]:
            row["secret"] = (await self.instance.http.get(f"/v1/webhooks/{row['id']}/secret")).json()["secret"]
        found["audit"] = (await self.instance.http.get("/v1/audit", params={"limit": 1})).json()
        return found


def described(state: Json, uid: str) -> Json:
    """Return the copied fields of an endpoint."""
    (row,) = [row for row in state["webhooks"] if row["uid"] == uid]
    assert row["payload"]["format"] == "svix"
    copied = ("tenant", "url", "description", "enabled", "channels", "metadata", "rate_limit", "secret")
    return {name: row[name] for name in copied} | {"events": sorted(row["events"]), "channels": sorted(row["channels"])}


@asynccontextmanager
async def moving(instance: Instance, url: str, folder: Path) -> AsyncIterator[Move]:
    made = export(url)
    async with serving(svix_server(made)) as source, serving(instance.app) as here:
        yield Move(made, instance, f"http://127.0.0.1:{source.port}", f"http://127.0.0.1:{here.port}", folder)


LOSSES = {
    "event type order.n0": ["schemas: version 2 is copied, without 1"],
    "event type order..twice": [
        "name: must be words of letters, digits, `_` and `-`, joined by dots, such as `order.paid`"
    ],
    "event type order.old": ["deprecated: has no counterpart"],
    "application app_18": [
        "the uid 'with.dots' cannot be kept, the id is app_18",
        "throttleRate 5: deliveries of a tenant have no common limit, set rate_limit of its webhooks",
    ],
    "application app_19": [f"the uid '{'x' * 65}' cannot be kept, the id is app_19"],
    "endpoint ep_0 of customer-0": [f"events 'order..twice': {PATTERN}"],
    "endpoint shop-1 of customer-1": [f"events 'order..twice': {PATTERN}"],
    "endpoint ep_2 of customer-2": [
        "the uid 'with.dots' cannot be kept, the id is ep_2",
        "rate_limit: Input should be less than or equal to 1000",
    ],
    "endpoint shop-3 of customer-3": [f"channels 'a..b': {CHANNEL}"],
    "endpoint ep_4 of customer-4": [
        "secret: the source shows only its public key; give the receiver the new one and enable the webhook"
    ],
    "endpoint shop-5 of customer-5": [
        "secret: a whsec_ key has 24 to 64 bytes, this one has 75; give the receiver the new one and enable the webhook"
    ],
    "endpoint ep_6 of customer-6": [
        "headers: cookie is set by Hookkeeper or by HTTP itself",
        "header authorization: Svix does not show its value, set it here",
    ],
}
"""The expected losses by object."""


def counted(**given: int) -> Json:
    return dict.fromkeys(("added", "changed", "unchanged", "not copied"), 0) | given


async def test_a_move_copies_everything_and_receivers_verify_with_the_old_secret(
    own_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    """Setup: 20 applications, 60 endpoints, 40 event types. Timeline: dry run, run, an event, a second run, a run from
    our own `/api/v1`. What this proves: nothing is lost silently, and a run can be repeated.
    """
    async with moving(own_instance, inbox.url, tmp_path) as move:
        dry = await move.json("--dry-run")
        assert (await move.state())["webhooks"] == (await move.state())["tenants"] == []
        done = await move.json()
        assert done == dry | {"dry_run": False}
        assert done["tenants"] == counted(added=20)
        assert done["event-types"] == counted(added=39) | {"not copied": 1}
        assert done["webhooks"] == counted(added=58) | {"not copied": 2}
        losses: dict[str, list[str]] = {}
        for each in done["losses"]:
            losses.setdefault(each["object"], []).append(each["loss"])
        assert losses == LOSSES
        state = await move.state()
        assert described(state, "shop-13") == {
            "tenant": "customer-13",
            "url": inbox.url,
            "description": "Endpoint 13",
            "enabled": True,
            "events": ["order.n13", "order.n2"],
            "channels": [],
            "metadata": {"team": "shop"},
            "rate_limit": None,
            "secret": secret_of(13),
        }
        assert described(state, "shop-39") == {
            "tenant": "app_19",
            "url": inbox.url,
            "description": "Endpoint 39",
            "enabled": False,
            "events": ["*"],
            "channels": ["group_2", "project.1"],
            "metadata": {"team": "shop"},
            "rate_limit": 50,
            "secret": secret_of(39),
        }
        assert described(state, "ep_4")["enabled"] is described(state, "shop-5")["enabled"] is False
        assert described(state, "ep_4")["secret"].startswith("whsk_")
        assert {row["id"]: row["name"] for row in state["tenants"]}["app_17"] == "Kunde № 17"
        types = {row["name"]: row for row in state["event-types"]}
        assert types["order.n0"]["schema"] == {"type": "object", "required": ["order"]}
        assert (types["order.n1"]["archived"], types["order.n2"]["description"]) == (True, "Größe 2")

        await own_instance.send("order.n13", tenant="customer-13", data={"order": 4711})
        requests = await inbox.got(2)
        assert {request.headers["x-shop"] for request in requests} == {"13", "33"}
        for request in requests:
            secret = secret_of(int(request.headers["x-shop"]))
            Webhook(secret).verify(request.body, request.headers)  # raises if it is wrong
            assert json.loads(request.body) == {"order": 4711}

        async with asyncio.timeout(WAIT_TIMEOUT):
            async for _ in pauses():
                webhooks = await move.listed("webhooks")
                if [row["health"]["status"] for row in webhooks].count("healthy") == len(requests):
                    break
        before = await move.state()
        unchanged = counted(unchanged=58)
        assert (await move.json())["webhooks"] == unchanged | {"not copied": 2}
        move.source = move.here
        code, out, _ = await move.run("--json", token=KEY)
        assert (code, json.loads(out)["webhooks"]) == (3, unchanged)
        assert await move.state() == before


async def test_another_run_copies_changes_and_keeps_values_that_were_set_here(
    own_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    async with moving(own_instance, inbox.url, tmp_path) as move:
        first = move.made.endpoints["app_6"][0]
        move.made.applications = move.made.applications[6:7]
        move.made.event_types = move.made.event_types[2:3]
        assert (await move.run())[0] == 3
        (webhook,) = [row for row in (await move.state())["webhooks"] if row["uid"] == "ep_6"]
        ours = {"headers": {"x-kept": "1", "Authorization": "Bearer ours"}}
        assert (await own_instance.http.patch(f"/v1/webhooks/{webhook['id']}", json=ours)).is_success
        move.made.applications[0] |= {"name": "Renamed", "metadata": {}}
        move.made.event_types[0] |= {"description": "Changed"}
        move.made.headers["ep_6"]["headers"]["x-kept"] = "2"
        move.made.secrets["ep_26"] = secret_of(99)
        first |= {"disabled": True}
        changed = {"tenants": counted(changed=1), "event-types": counted(changed=1)}
        changed["webhooks"] = counted(changed=2, unchanged=1)
        code, out, _ = await move.run("--json")
        assert (code, json.loads(out)) == (3, json.loads(out) | changed)
        state = await move.state()
        assert (state["tenants"][0]["name"], state["tenants"][0]["metadata"]) == ("Renamed", {})
        assert (described(state, "ep_6")["enabled"], described(state, "ep_26")["secret"]) == (False, secret_of(99))
        row = await own_instance.store.webhooks.get(webhook["id"], None)
        assert row
        assert row.headers == {"x-kept": "2", "Authorization": "Bearer ours"}


async def test_an_existing_webhook_goes_to_another_host_only_if_told_to(
    own_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    """The source is another's server. Timeline: a run; the URL changes within its host; then its host and its key."""
    async with moving(own_instance, inbox.url, tmp_path) as move:
        move.made.applications, move.made.event_types = move.made.applications[7:8], []
        endpoint = move.made.endpoints["app_7"][0]
        move.made.endpoints["app_7"] = [endpoint]
        assert (await move.run())[0] == 0
        moved = f"{inbox.url}/new"
        endpoint["url"] = moved
        said = f"changed: endpoint shop-7 of customer-7\n  url: {inbox.url} → {moved}\n"
        code, out, _ = await move.run("--dry-run")
        assert (code, f"would be {said}" in out) == (0, True)
        code, out, _ = await move.run()
        assert (code, said in out) == (0, True)
        endpoint["url"], move.made.secrets["ep_7"] = "https://other.example/hook", secret_of(99)
        before = await move.state()
        for options in (("--dry-run",), ()):
            code, out, _ = await move.run(*options)
            assert (code, "not copied: endpoint shop-7 of customer-7" in out) == (1, True)
            assert f"{moved} → https://other.example/hook: --replace" in " ".join(out.split())
        assert await move.state() == before
        code, out, _ = await move.run("--replace", "--json")
        change = {"object": "endpoint shop-7 of customer-7", "url": f"{moved} → https://other.example/hook"}
        assert (code, json.loads(out)["changed_urls"]) == (0, [change])
        copied = described(await move.state(), "shop-7")
        assert (copied["url"], copied["secret"]) == ("https://other.example/hook", secret_of(99))


@pytest.mark.parametrize("repeats", [True, False])
async def test_pages_without_end_are_refused(repeats: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same iterator, or with a new one each time; also where the pages are empty."""
    monkeypatch.setattr("extensions.importing.from_svix.MAX_ITEMS", 20)
    app, numbers = FastAPI(), itertools.count()

    @app.get("/api/v1/event-type")
    async def answer() -> Json:
        return {"data": [], "iterator": "again" if repeats else str(next(numbers)), "done": False}

    async with serving(app) as source:
        svix = Svix(f"http://127.0.0.1:{source.port}", TOKEN)
        refused = pytest.raises(Failed, match="repeats its pages" if repeats else "more than 20 items")
        with closing(svix._http), refused:
            await asyncio.to_thread(svix.items)


async def test_an_interrupted_run_goes_on(own_instance: Instance, inbox: Receiver, tmp_path: Path) -> None:
    async with moving(own_instance, inbox.url, tmp_path) as move:
        move.made.applications = move.made.applications[7:10]
        move.made.event_types = []
        path = "app/app_8/endpoint/ep_28/secret"
        move.made.reached[path] = asyncio.Event()
        words = ("import", "svix", "--url", move.source)
        async with process(*words, cwd=tmp_path, settings=move.settings()) as interrupted:
            async with asyncio.timeout(WAIT_TIMEOUT):
                await move.made.reached[path].wait()
            assert await interrupted.stop(signal.SIGINT) == 1
            said = interrupted.err.read_text()
        assert said == "Error: interrupted: run the same command again to continue\n"
        assert {row["uid"] for row in (await move.state())["webhooks"]} == {"shop-7", "shop-27", "shop-47", "ep_8"}
        move.made.reached.clear()
        move.made.refused["app"] = 1
        code, out, err = await move.run()
        assert (code, err) == (0, "")
        assert "3/3" in out
        assert [line.split() for line in out.splitlines()[-3:]] == [
            ["tenants", "1", "0", "2", "0"],
            ["event-types", "0", "0", "0", "0"],
            ["webhooks", "5", "0", "4", "0"],
        ]


async def test_a_dry_run_reports_a_wrong_token_or_address(
    own_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    async with moving(own_instance, inbox.url, tmp_path) as move:
        code, _, err = await move.run(token="other")
        assert (code, "answers 401 Unauthorized" in err, "other" in err) == (1, True, False)
        move.made.applications, move.made.event_types = move.made.applications[7:8], []
        move.key = "hk_other"
        code, out, err = await move.run()
        assert (code, err.count("401 Unauthorized"), "application" in out) == (1, 1, False)
        move.key = KEY
        move.made.endpoints["app_7"] = [move.made.endpoints["app_7"][0] | {"url": "http://127.0.0.1:9/"}]
        code, out, _ = await move.run("--dry-run")
        assert (code, "not copied: endpoint shop-7 of customer-7\n  422" in out, "has port 9" in out) == (1, True, True)
        move.source = "http://127.0.0.1:1"
        code, _, err = await move.run()
        assert (code, "cannot reach http://127.0.0.1:1" in err) == (1, True)


async def test_a_source_that_answers_otherwise_is_an_error_that_names_the_place(
    own_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    async with moving(own_instance, inbox.url, tmp_path) as move:
        move.made.applications, move.made.event_types = move.made.applications[7:8], []
        del move.made.endpoints["app_7"][1]["url"]
        code, out, err = await move.run("--dry-run")
        assert (code, "added: endpoint shop-7" in out) == (1, True)
        assert "does not have the documented form, after endpoint shop-7 of customer-7: KeyError('url')" in err
        inbox.otherwise = Answer(200, "<html>")
        move.source = inbox.url.removesuffix("/hook")
        code, _, err = await move.run()
        assert (code, "is no answer of Svix: check --url" in err) == (1, True)


@pytest.mark.promise("docs/convoy.md")
async def test_a_project_of_convoy_is_copied_and_receivers_verify_with_the_old_secret(
    own_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    """The characters of Convoy's secret are the bytes of the key."""
    secret = "a secret of 25 characters"
    endpoint: Json = {"uid": "01END", "project_id": "01PRJ", "owner_id": "acme", "url": inbox.url, "name": "Shop"}
    endpoint |= {"secrets": [{"uid": "1", "value": secret}], "status": "active", "content_type": "application/json"}
    endpoint |= {"http_timeout": 5, "rate_limit": 10, "rate_limit_duration": 1, "description": "Orders"}
    chosen = {"event_types": ["order.paid"], "filter": {"body": {}}}
    row: Json = {"uid": "01SUB", "name": "Orders", "endpoint_metadata": {"uid": "01END"}, "filter_config": chosen}
    row["retry_config"] = {"type": "exponential", "duration": 10, "retry_count": 5}
    file = tmp_path / "all.json"
    types: list[Json] = [{"name": name, "json_schema": {}, "description": name} for name in ("*", "order.paid")]
    enabled = {"subscription_id": "01SUB", "event_type": "order.paid", "enabled_at": "2026-01-02T03:04:05Z"}
    file.write_text(json.dumps({"data": [endpoint, row, enabled, *types]}))
    async with moving(own_instance, inbox.url, tmp_path) as move:
        added = {"tenants": counted(added=1), "event-types": counted(added=1), "webhooks": counted(added=1)}
        words = ("convoy", str(file), "--json")
        code, out, _ = await move.command(*words)
        assert (code, json.loads(out)) == (0, added | {"dry_run": False, "losses": [], "changed_urls": []})
        await own_instance.send("order.paid", tenant="acme", data={"order": 4711})
        (request,) = await inbox.got(1)
        assert request.body == b'{"order":4711}'
        StandardWebhook(base64.b64encode(secret.encode()).decode()).verify(request.body, request.headers)
        before = await move.state()
        code, out, _ = await move.command(*words)
        unchanged = {path: counted(unchanged=1) for path in added}
        assert (code, json.loads(out)) == (0, unchanged | {"dry_run": False, "losses": [], "changed_urls": []})
        assert await move.state() == before
