"""The router in front of two cells: real APIs and registries, and a map that tests change."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from callers import make_key
from problems import problem
from structlog.testing import capture_logs
from temporalio.client import Client

from extensions.cells import cell_map, router
from extensions.cells.access import CellAccess
from extensions.cells.cell_map import Cell, CellMap, Place
from extensions.cells.move import Move
from hookkeeper.times import utc_now
from instances import KEY, Instance, running_instance
from timeouts import WAIT_TIMEOUT

SOON = timedelta(hours=1)


@dataclass
class Cells:
    """Two cells, a router in front of them, and the tenants of a test: `here` is in a, `there` in b."""

    a: Instance
    b: Instance
    routed: router.Cells
    app: Any
    http: httpx.AsyncClient
    path: Path
    here: str
    there: str

    def calling(self, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://router.test",
            headers={"authorization": f"Bearer {key}"},
        )

    def move(self, source: str, target: str, tell: Callable[[str], None] = lambda _: None) -> Move:
        """Return the move of the tenant `here`."""
        of, to = (
            CellAccess(name, getattr(self, name).store, getattr(self, name).http, SOON) for name in (source, target)
        )
        return Move(self.path, self.here, of, to, 0.1, tell)

    async def until_moved(self) -> None:
        """Let the router have the map as it is."""
        await until_read(self, cell_map.read(self.path))


@pytest.fixture
async def cells(temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cells]:
    monkeypatch.setattr(router, "LOOK_INTERVAL", 0.02)
    monkeypatch.setattr("api.authenticator.TRUSTED", 0.0)
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(running_instance(temporal, tmp_path / name)) for name in "ab"]
        here, there = a.tenant, b.tenant
        path = tmp_path / "cells.json"
        known = {name: Cell(url=f"http://{name}.test") for name in "ab"}
        cell_map.write(path, CellMap(cells=known, default="a", tenants={there: Place(cell="b")}))
        mounts = {
            f"http://{name}.test": httpx.ASGITransport(each.app, raise_app_exceptions=False)
            for name, each in (("a", a), ("b", b))
        }
        inner = await stack.enter_async_context(httpx.AsyncClient(mounts=mounts))
        routed = router.Cells(path, inner)
        app = router.create_router(routed, KEY, asyncio.Event())
        await stack.enter_async_context(app.router.lifespan_context(app))
        made = Cells(a, b, routed, app, httpx.AsyncClient(), path, here, there)
        made.http = await stack.enter_async_context(made.calling(KEY))
        yield made


async def until_read(cells: Cells, changed: CellMap) -> None:
    """Let the router have this map."""
    cell_map.write(cells.path, changed)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while cells.routed.map != changed:
            await asyncio.sleep(0.01)


async def put(cells: Cells, place: Place) -> None:
    """Let the router have the tenant `there` at this place."""
    await until_read(cells, cells.routed.map.with_place(cells.there, place))


def event(tenant: str, **fields: Any) -> dict[str, Any]:
    return {"type": "order.paid", "tenant": tenant, **fields}


async def has(instance: Instance, tenant: str, event_id: str) -> bool:
    return await instance.store.rows.find(tenant, event_id) is not None


@pytest.mark.promise("docs/cells.md")
async def test_each_tenant_is_in_its_cell_and_unlisted_ones_in_the_default(cells: Cells) -> None:
    """By the body or the query of the operator, and by the key of a tenant."""
    for tenant, own, other in ((cells.here, cells.a, cells.b), (cells.there, cells.b, cells.a)):
        answer = await cells.http.post("/v1/events", json=event(tenant, id="one"))
        assert answer.status_code == 202, answer.text
        assert (await has(own, tenant, "one"), await has(other, tenant, "one")) == (True, False)
        made = await cells.http.post("/v1/keys", json={"name": "backend", "tenant": tenant})
        async with cells.calling(made.json()["key"]) as http:
            assert (await http.post("/v1/events", json={"type": "order.paid", "id": "two"})).status_code == 202
            assert (await http.get("/v1/events/two")).json()["tenant"] == tenant
        assert (await has(own, tenant, "two"), await has(other, tenant, "two")) == (True, False)
        listed = await cells.http.get("/v1/events", params={"tenant": tenant})
        assert {item["id"] for item in listed.json()["items"]} == {"one", "two"}


async def test_a_tenant_is_described_in_its_cell(cells: Cells) -> None:
    """The body, and then the path, names it."""
    made = await cells.http.post("/v1/tenants", json={"id": cells.there, "name": "Acme"})
    assert made.status_code == 201, made.text
    changed = await cells.http.patch(f"/v1/tenants/{cells.there}", json={"name": "Acme Ltd"})
    assert changed.json()["name"] == "Acme Ltd"
    assert (await cells.b.http.get(f"/v1/tenants/{cells.there}")).json()["name"] == "Acme Ltd"
    assert "all tenants" in problem(await cells.http.get("/v1/tenants"), 400)["detail"]


async def test_a_request_of_the_operator_names_a_tenant_or_a_cell(cells: Cells) -> None:
    for answer in (
        await cells.http.get("/v1/events"),
        await cells.http.post("/v1/events", json={"type": "order.paid"}),
        await cells.http.post("/v1/events/batch", json={"events": [{"type": "order.paid"}]}),
    ):
        assert "all tenants" in problem(answer, 400)["detail"]
    await cells.http.post("/v1/events", json=event(cells.there, id="one"))
    for name, found in (("a", []), ("b", ["one"])):
        answer = await cells.http.get("/v1/events", headers={"hookkeeper-cell": name})
        assert [item["id"] for item in answer.json()["items"]] == found
    problem(await cells.http.get("/v1/events", headers={"hookkeeper-cell": "c"}), 400)
    problem(await cells.http.get("/login"), 404)
    problem(await cells.http.get("/v1/../login"), 404)


async def test_a_key_that_its_tenants_cell_does_not_know_is_refused(cells: Cells, monkeypatch: Any) -> None:
    """Also where another cell still has it, as after a move."""
    monkeypatch.setattr(router, "TRUSTED", 0.0)
    left = await make_key(cells.a, cells.there)
    for key in (left["key"], "hk_nothing", ""):
        async with cells.calling(key) as http:
            problem(await http.get("/v1/events"), 401)
            problem(await http.get("/v1/events", headers={"hookkeeper-cell": "a"}), 401)


async def test_a_batch_is_divided_among_the_cells_of_its_events(cells: Cells) -> None:
    """The answers are in the order of the batch, one for each event."""
    tenants = [cells.there, cells.here, cells.there]
    events = [event(tenant, id=f"e{n}") for n, tenant in enumerate(tenants)] + [event(cells.here, data=1, type="")]
    answer = await cells.http.post("/v1/events/batch", json={"events": events})
    assert answer.status_code == 207, answer.text
    items = answer.json()["items"]
    assert [item["status"] for item in items] == [202, 202, 202, 422]
    assert [item["event"]["id"] for item in items[:3]] == ["e0", "e1", "e2"]
    assert [await has(cells.b, cells.there, f"e{n}") for n in (0, 2)] == [True, True]
    assert await has(cells.a, cells.here, "e1")


async def test_an_event_that_a_previous_cell_has_is_read_steered_and_recognised_there(cells: Cells) -> None:
    """Alone, by its header, and in a batch. New ones go to the present cell."""
    await cells.http.post("/v1/events", json=event(cells.there, id="early"))
    await put(cells, Place(cell="a", previous={"b": utc_now() + SOON}))
    again = await cells.http.post("/v1/events", json=event(cells.there, id="early"))
    keyed = await cells.http.post("/v1/events", json=event(cells.there), headers={"idempotency-key": "early"})
    assert [(answer.status_code, answer.json().get("duplicate")) for answer in (again, keyed)] == [(200, True)] * 2
    batch = [event(cells.there, id="early"), event(cells.there, id="new"), event(cells.there)]
    items = (await cells.http.post("/v1/events/batch", json={"events": batch})).json()["items"]
    assert [item["status"] for item in items] == [200, 202, 202]
    assert (await has(cells.a, cells.there, "early"), await has(cells.a, cells.there, "new")) == (False, True)
    query = {"tenant": cells.there}
    assert (await cells.http.get("/v1/events/early", params=query)).json()["id"] == "early"
    noted = await cells.http.post("/v1/events/early/acknowledge", params=query, json={"note": "seen"})
    assert noted.status_code == 409, "the cell that has it has decided: it needs no attention"
    problem(await cells.http.get("/v1/events/unknown", params=query), 404)


async def test_while_a_tenant_is_copied_its_events_are_accepted_and_changes_wait(cells: Cells) -> None:
    await put(cells, Place(cell="b", moving_to="a"))
    assert (await cells.http.post("/v1/events", json=event(cells.there))).status_code == 202
    assert (await cells.http.get("/v1/webhooks", params={"tenant": cells.there})).status_code == 200
    webhook = {"url": "http://127.0.0.1/hook", "tenant": cells.there}
    refused = await cells.http.post("/v1/webhooks", json=webhook)
    assert problem(refused, 503) and refused.headers["retry-after"]
    assert (await cells.http.post("/v1/webhooks", json=webhook | {"tenant": cells.here})).status_code == 201


@pytest.mark.promise("docs/cells.md")
async def test_a_cell_that_does_not_answer_affects_its_own_tenants_only(cells: Cells) -> None:
    known = cells.routed.map
    await until_read(cells, known.model_copy(update={"cells": {**known.cells, "b": Cell(url="http://127.0.0.1:1")}}))
    answer = await cells.http.post("/v1/events", json=event(cells.there))
    assert answer.headers["retry-after"]
    assert "Cell b" in answer.json()["detail"]
    assert (await cells.http.post("/v1/events", json=event(cells.here))).status_code == 202
    batch = {"events": [event(cells.here), event(cells.there)]}
    items = (await cells.http.post("/v1/events/batch", json=batch)).json()["items"]
    assert [item["status"] for item in items] == [202, 503]


async def test_a_bad_map_leaves_the_previous_one_in_use(cells: Cells) -> None:
    with capture_logs() as logs:
        cells.path.write_text('{"cells": {}}')
        async with asyncio.timeout(WAIT_TIMEOUT):
            while "the map of cells is not read again" not in [line["event"] for line in logs]:
                await asyncio.sleep(0.01)
    assert (await cells.http.post("/v1/events", json=event(cells.there, id="one"))).status_code == 202
    assert await has(cells.b, cells.there, "one")


async def test_a_tenant_is_refused_by_the_cell_that_it_has_left(cells: Cells) -> None:
    """Timeline: it moves from a to b; its key is tried at the router, with the header for a, and at a itself.

    By the router, it goes on reading and steering its earlier events, and nothing of others.
    """
    made = (await cells.http.post("/v1/keys", json={"name": "backend", "tenant": cells.here})).json()
    scopes = ["events:write"]
    writer = (await cells.http.post("/v1/keys", json={"name": "w", "tenant": cells.here, "scopes": scopes})).json()
    await cells.a.webhook("http://127.0.0.1/hook", events=["user.*"])
    await cells.http.post("/v1/events", json=event(cells.here, id="early"))
    await cells.a.http.post("/v1/events", json=event("bystander", id="secret"))
    await cells.move("a", "b").run()
    await cells.until_moved()

    to_a = {"hookkeeper-cell": "a"}
    webhook = {"url": "http://127.0.0.1/hook"}
    async with cells.calling(made["key"]) as http:
        for path, body in (("events", {"type": "order.paid"}), ("webhooks", webhook)):
            problem(await http.post(f"/v1/{path}", json=body, headers=to_a), 403)
        assert (await http.post("/v1/webhooks", json=webhook)).status_code == 201
        assert (await http.get("/v1/events/early")).json()["id"] == "early"
        assert (await http.post("/v1/events", json={"type": "order.paid", "id": "early"})).json()["duplicate"]
        items = [{"type": "order.paid", "id": each} for each in ("early", "new")]
        batch = (await http.post("/v1/events/batch", json={"events": items})).json()["items"]
        assert [item["status"] for item in batch] == [200, 202]
        noted = await http.post("/v1/events/early/acknowledge", json={"note": "seen"})
        assert problem(noted, 409), "the cell that has it has decided"
        for headers, found in ((to_a, ["early"]), ({"hookkeeper-cell": "b"}, ["new"])):
            listed = (await http.get("/v1/events", headers=headers)).json()["items"]
            assert [item["id"] for item in listed] == found
        other = {"tenant": "bystander"}
        problem(await http.get("/v1/events/secret", params=other), 404)
        problem(await http.get("/v1/events/secret", params=other, headers=to_a), 404)
        problem(await http.get("/v1/events/secret", headers=to_a | {"hookkeeper-tenant": "bystander"}), 404)
        problem(await http.get("/v1/events/secret"), 404)
        assert (await http.get("/api/v1/app/bystander/msg/secret")).status_code == 404
        problem(await http.get("/v1/audit", headers=to_a | {"hookkeeper-scopes": "admin"}), 403)
    async with cells.calling(writer["key"]) as http:
        problem(await http.get("/v1/events", headers=to_a), 403)
        problem(await http.get("/v1/events/early"), 403)
        assert (await http.post("/v1/events", json={"type": "order.paid", "id": "early"})).json()["duplicate"]

    at_a = {"authorization": f"Bearer {made['key']}"}
    for path in ("keys/current", "events/early", "events"):
        assert "revoked" in problem(await cells.a.http.get(f"/v1/{path}", headers=at_a), 401)["detail"]
    problem(await cells.a.http.post("/v1/events", json={"type": "order.paid"}, headers=at_a), 401)
    for path, fields in (("events", {"type": "order.paid"}), ("webhooks", webhook)):
        refused = await cells.a.http.post(f"/v1/{path}", json=fields | {"tenant": cells.here})
        assert "has moved" in problem(refused, 403)["detail"]
    await cells.http.patch(f"/v1/tenants/{cells.here}", json={"suspended": True})
    async with cells.calling(made["key"]) as http:
        for headers in ({}, to_a):
            problem(await http.post("/v1/events", json={"type": "order.paid"}, headers=headers), 403)


async def test_a_key_that_ended_in_a_cell_and_is_tried_there_too_often_goes_on_in_the_present_one(cells: Cells) -> None:
    """A router that has just started asks the default cell first."""
    made = (await cells.http.post("/v1/keys", json={"name": "backend", "tenant": cells.here})).json()
    await cells.move("a", "b").run()
    await cells.until_moved()
    own = {"authorization": f"Bearer {made['key']}"}
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await cells.a.http.get("/v1/keys/current", headers=own)).status_code != 429:
            pass
    cells.app = router.create_router(cells.routed, KEY, asyncio.Event())
    async with cells.calling(made["key"]) as http:
        assert (await http.post("/v1/events", json={"type": "order.paid"})).status_code == 202


async def test_a_key_of_a_tenant_reads_only_in_cells_that_have_had_the_tenant(cells: Cells) -> None:
    made = (await cells.http.post("/v1/keys", json={"name": "backend", "tenant": cells.there})).json()
    async with cells.calling(made["key"]) as http:
        for name, status in (("a", 403), ("b", 200), ("c", 403)):
            assert (await http.get("/v1/events", headers={"hookkeeper-cell": name})).status_code == status
        posted = await http.post("/v1/events", json={"type": "order.paid"}, headers={"hookkeeper-cell": "b"})
        assert problem(posted, 403)


async def test_a_tenant_moves_back_to_the_cell_that_it_has_left(cells: Cells) -> None:
    """Also after a move back that was begun, and taken back before the map had changed."""

    def interrupt(text: str) -> None:
        if "webhooks are copied" in text:
            raise InterruptedError

    made = (await cells.http.post("/v1/keys", json={"name": "backend", "tenant": cells.here})).json()
    hook = await cells.a.webhook("http://127.0.0.1/hook", events=["user.*"])
    await cells.move("a", "b").run()
    with pytest.raises(InterruptedError):
        await cells.move("b", "a", interrupt).run()
    assert not (await cells.a.store.tenants.get(cells.here)).suspended_at  # type: ignore[union-attr]
    await cells.move("b", "a").take_back()
    await cells.until_moved()
    own = {"authorization": f"Bearer {made['key']}"}
    problem(await cells.a.http.get("/v1/keys/current", headers=own), 401)
    problem(await cells.a.http.post("/v1/events", json=event(cells.here)), 403)

    await cells.move("b", "a").run()
    await cells.until_moved()
    async with cells.calling(made["key"]) as http:
        assert (await http.post("/v1/events", json={"type": "order.paid", "id": "back"})).status_code == 202
        assert [item["id"] for item in (await http.get("/v1/webhooks")).json()["items"]] == [hook["id"]]
        assert (await http.post("/v1/webhooks", json={"url": "http://127.0.0.1/hook"})).status_code == 201
    assert await has(cells.a, cells.here, "back")
    problem(await cells.b.http.get("/v1/keys/current", headers=own), 401)
    problem(await cells.b.http.post("/v1/events", json=event(cells.here)), 403)


async def test_the_admin_key_on_behalf_of_a_tenant_is_bound_to_it_and_to_the_scopes(cells: Cells) -> None:
    """As a router uses it. Without the headers, it is bound to nothing; a tenant's key cannot use them."""
    of = {"hookkeeper-tenant": cells.here, "hookkeeper-scopes": "events:read"}
    current = (await cells.a.http.get("/v1/keys/current", headers=of)).json()
    assert (current["tenant"], current["scopes"]) == (cells.here, ["events:read"])
    problem(await cells.a.http.get("/v1/events", params={"tenant": cells.there}, headers=of), 403)
    problem(await cells.a.http.post("/v1/events", json=event(cells.here), headers=of), 403)
    problem(await cells.a.http.get("/v1/events", headers=of | {"hookkeeper-scopes": ""}), 403)
    made = (await cells.http.post("/v1/keys", json={"name": "backend", "tenant": cells.there})).json()
    forged = of | {"authorization": f"Bearer {made['key']}"}
    assert (await cells.b.http.get("/v1/keys/current", headers=forged)).json()["tenant"] == cells.there
