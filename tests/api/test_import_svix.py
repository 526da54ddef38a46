"""A move from Svix: `hookkeeper import svix` against a server that speaks the documented form of its list routes."""

import asyncio
import base64
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from sockets import serving
from starlette.responses import JSONResponse

from instances import KEY, Instance
from receivers import Receiver

TOKEN = "testsk_of-svix"
PAGE = 7
Json = dict[str, Any]
TIMES = {"createdAt": "2026-01-02T03:04:05Z", "updatedAt": "2026-01-02T03:04:05Z"}


def secret_of(number: int) -> str:
    return "whsec_" + base64.b64encode(bytes([number]) * 24).decode()


@dataclass
class Export:
    """What a Svix server has, in the form of its answers."""

    applications: list[Json]
    event_types: list[Json]
    endpoints: dict[str, list[Json]]
    secrets: dict[str, str]
    headers: dict[str, Json]
    requests: Counter[str] = field(default_factory=Counter)
    fails: Callable[[str, int], int] = lambda path, count: 200
    """The status of the nth request of a path."""

    def page(self, rows: Sequence[Json], key: str, iterator: str | None) -> Json:
        """Return a page of rows after the one that the iterator names. An iterator is given on the last page too."""
        at = 1 + [row[key] for row in rows].index(iterator) if iterator else 0
        shown = rows[at : at + PAGE]
        done = at + PAGE >= len(rows)
        return {"data": shown, "iterator": shown[-1][key] if shown else None, "prevIterator": None, "done": done}


def export(url: str) -> Export:
    """Make 20 applications, 60 endpoints and 40 event types, with awkward cases."""
    types = [{"name": f"order.n{n}", "description": f"Größe {n}", "deprecated": False, **TIMES} for n in range(38)]
    types[0] |= {"schemas": {"1": {"type": "object"}, "2": {"type": "object", "required": ["order"]}}}
    types[1] |= {"archived": True}
    types += [
        {"name": name, "description": "", "deprecated": deprecated, "featureFlag": None, **TIMES}
        for name, deprecated in (("order..twice", False), ("order.old", True))
    ]
    apps = [
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
        made.requests[path] += 1
        if (status := made.fails(path, made.requests[path])) != 200:
            return JSONResponse({"code": "server_error", "detail": ""}, status)
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

    async def start(self, *options: str, token: str = TOKEN) -> asyncio.subprocess.Process:
        """Start the command as a process."""
        words = ["import", "svix", "--url", self.source, *options]
        given = {"HOOKKEEPER_URL": self.here, "HOOKKEEPER_API_KEY": KEY, "SVIX_AUTH_TOKEN": token}
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hookkeeper", *words, env=os.environ | given, stdout=pipe, stderr=pipe
        )

    async def run(self, *options: str, token: str = TOKEN) -> tuple[int | None, str, str]:
        """Run the command. Return exit code, output and errors."""
        process = await self.start(*options, token=token)
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    async def json(self, *options: str) -> Json:
        code, out, err = await self.run("--json", *options)
        assert (code, err) == (1, "")  # two of the endpoints cannot be copied
        return json.loads(out)  # type: ignore[no-any-return]

    async def state(self) -> Json:
        """Return all that our API shows, with the keys."""
        found: Json = {}
        for path in ("tenants", "event-types", "webhooks"):
            found[path] = []
            cursor = None
            while True:
                query = {"limit": 100} | ({"cursor": cursor} if cursor else {})
                page = (await self.instance.http.get(f"/v1/{path}", params=query)).json()
                found[path] += page["items"]
                if not (cursor := page["next_cursor"]):
                    break
        for row in found["webhooks"]:
            row["secret"] = (await self.instance.http.get(f"/v1/webhooks/{row['id']}/secret")).json()["secret"]
        found["audit"] = (await self.instance.http.get("/v1/audit", params={"limit": 1})).json()
        return found


@asynccontextmanager
async def moving(instance: Instance, url: str) -> AsyncIterator[Move]:
    made = export(url)
    async with serving(svix_server(made)) as source, serving(instance.app) as here:
        yield Move(made, instance, f"http://127.0.0.1:{source.port}", f"http://127.0.0.1:{here.port}")


async def test_a_move_copies_everything_and_receivers_verify_with_the_old_secret(
    instance: Instance, inbox: Receiver
) -> None:
    async with moving(instance, inbox.url) as move:
        dry = await move.json("--dry-run")
        assert dry["tenants"] == {"added": 20, "changed": 0, "unchanged": 0, "not copied": 0}
        empty = await move.state()
        assert (empty["tenants"], empty["event-types"], empty["webhooks"]) == ([], [], [])
        done = await move.json()
        print(json.dumps(done["losses"], indent=1))
        assert done == dry | {"dry_run": False}
        state = await move.state()
        assert (await move.json())["webhooks"] == {"added": 0, "changed": 0, "unchanged": 58, "not copied": 2}
        assert await move.state() == state
