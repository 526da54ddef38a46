"""Search in event data over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from callers import calling, make_key
from problems import problem
from temporalio.client import Client

from hookkeeper.content.search_terms import Term
from hookkeeper.crypto.keyring import new_key
from hookkeeper.messages.rows import EventRow
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.store import Store
from hookkeeper.services.events import search as event_search
from hookkeeper.services.events.search import EventSearches
from instances import Instance, running_instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT


async def search(instance: Instance, q: str, **query: Any) -> dict[str, Any]:
    answer = await instance.http.get("/v1/events", params={"tenant": instance.tenant, "q": q, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def ids(instance: Instance, q: str, **query: Any) -> list[str]:
    return [item["id"] for item in (await search(instance, q, **query))["items"]]


async def declare(instance: Instance, *paths: str) -> None:
    answer = await instance.http.put("/v1/search-keys", json={"tenant": instance.tenant, "paths": paths})
    assert answer.json() == {"tenant": instance.tenant, "paths": [*paths]}, answer.text


@pytest.mark.promise("docs/events.md")
async def test_declared_keys_are_found_without_reading_data(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker runs, and data may not be read: everything comes from the registry."""
    monkeypatch.setattr(event_search, "MAX_READ", 0)
    await declare(instance, "order_id")
    name = f"{instance.tenant}.paid"
    await instance.http.post("/v1/event-types", json={"name": name, "search_keys": ["customer.id"]})
    await instance.send(id="text", data={"order_id": "4711"})
    await instance.send(id="number", data={"order_id": 4711})
    await instance.send(name, id="typed", data={"order_id": 4711, "customer": {"id": "acme gmbh"}})
    await instance.send(id="other", data={"order_id": 4712, "customer": {"id": "acme gmbh"}})
    generated = (await instance.send(data={"order_id": 4711}))["id"]
    batch = {"events": [{"type": "a", "id": "batch", "tenant": instance.tenant, "data": {"order_id": 4711}}]}
    assert (await instance.http.post("/v1/events/batch", json=batch)).json()["items"][0]["status"] == 202
    webhook = await instance.webhook("https://acme.example/hook", events=["none"])
    test_event = {"id": "test", "type": "a", "data": {"order_id": 4711}}
    assert (await instance.http.post(f"/v1/webhooks/{webhook['id']}/test", json=test_event)).status_code == 202
    found = await search(instance, "data.order_id:4711", total=True)
    assert [item["id"] for item in found["items"]] == ["test", "batch", generated, "typed", "number", "text"]
    assert (found["total"], found["searched_until"]) == (6, None)
    assert await ids(instance, 'data.order_id:4711 data.customer.id:"acme gmbh"', type=name) == ["typed"]
    assert await ids(instance, "data.order_id:4711", type=name) == ["typed"]
    paged = await search(instance, "data.order_id:4711", limit=2)
    assert await ids(instance, "data.order_id:4711", limit=2, cursor=paged["next_cursor"]) == [generated, "typed"]


async def test_other_data_of_the_latest_events_are_read(instance: Instance, inbox: Receiver) -> None:
    """Own runs, shared runs, open and closed ones; a page says how far it has searched."""
    await instance.webhook(inbox.url)
    await instance.send(id="closed", data={"customer": {"name": "Acme GmbH"}, "n": 4711})
    await instance.until_closed("closed")
    shared = await asyncio.gather(*(instance.send(data={"n": n, "note": "shared"}) for n in range(8)))
    assert await ids(instance, "data.n:4711") == ["closed"]
    assert await ids(instance, '"acme gmbh" 4711') == ["closed"]
    assert await ids(instance, "data.n:3 shared") == [shared[3]["id"]]
    assert await ids(instance, "closed") == ["closed"]
    assert await ids(instance, "nowhere") == []
    assert sorted(await ids(instance, "shared")) == sorted(event["id"] for event in shared)
    found = await search(instance, "shared", limit=3, total=True)
    assert len(found["items"]) == 3
    assert found["total"] is None
    assert found["searched_until"] == found["items"][-1]["accepted_at"]
    rest = await search(instance, "shared", limit=100, cursor=found["next_cursor"])
    assert len(rest["items"]) == 5
    assert rest["next_cursor"] is None
    assert await ids(instance, "shared", until=found["items"][0]["accepted_at"]) != await ids(instance, "shared")


async def test_a_search_reads_a_bounded_number_of_events(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_search, "MAX_READ", 4)
    monkeypatch.setattr(event_search, "READ_AT_ONCE", 2)
    for n in range(6):
        await instance.send(id=f"e{n}", data={"n": n})
    first = await search(instance, "data.n:0")
    assert first["items"] == []
    events = (await instance.http.get("/v1/events", params={"tenant": instance.tenant})).json()["items"]
    assert first["searched_until"] == events[3]["accepted_at"]
    assert await ids(instance, "data.n:0", cursor=first["next_cursor"]) == ["e0"]
    monkeypatch.setattr(event_search, "MAX_SECONDS", 0.0)
    stopped = await search(instance, "data.n:0")
    assert stopped["searched_until"] == events[1]["accepted_at"]


class WaitingSearches(EventSearches):
    """Reads no data before it may."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.may_read = asyncio.Event()
        self.reading = 0

    async def _matching(self, rows: Sequence[EventRow], matches: Callable[[Any, str], bool]) -> list[EventRow]:
        self.reading += 1
        await self.may_read.wait()
        return await super()._matching(rows, matches)


async def test_searches_of_one_tenant_keep_no_slot_from_another(instance: Instance) -> None:
    searches = WaitingSearches(instance.store)
    busy, other = (
        [asyncio.create_task(searches.page(Search(tenant=tenant), [Term("x")], 50, None)) for _ in range(5)]
        for tenant in ("busy", "other")
    )
    async with asyncio.timeout(WAIT_TIMEOUT):
        while searches.reading < 3:
            await asyncio.sleep(0.01)
    assert searches.reading == 3, "two of one tenant, and one of the other"
    searches.may_read.set()
    found = await asyncio.gather(*busy, *other)
    assert [page.rows for page in found] == [[]] * 10


async def test_an_action_on_what_a_query_finds_takes_declared_keys_only(instance: Instance) -> None:
    await declare(instance, "order_id")
    for event_id, order in (("a", "x y"), ("b", "x y"), ("c", "z")):
        await instance.send(id=event_id, data={"order_id": order})

    async def counted(q: str) -> httpx.Response:
        params = {"tenant": instance.tenant, "q": q}
        body = {"action": "cancel", "dry_run": True}
        return await instance.http.post("/v1/bulk", params=params, json=body)

    answer = await counted('data.order_id:"x y"')
    assert (answer.status_code, answer.json()["found"]) == (200, 2), answer.text
    assert answer.json()["filter"]["q"] == 'data.order_id:"x y"'
    for q in ("a", "data.other:1", "data.order_id:z a"):
        problem(await counted(q), 422, "q")


async def test_what_tells_of_events_needs_the_scope_to_read_them(instance: Instance) -> None:
    """Counts, dry runs, and actions on what is found by contents or by the beginning of an id."""
    await declare(instance, "card")
    await instance.send(id="paid", data={"card": "4711"})
    writes = await make_key(instance, instance.tenant, scopes=["events:write", "webhooks:read"])
    reads = await make_key(instance, instance.tenant, scopes=["events:write", "events:read"])
    webhook = (await instance.webhook("https://acme.example/hook"))["id"]
    action, count, since = {"action": "acknowledge"}, {"dry_run": True}, {"since": "2026-01-01T00:00:00Z"}
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = [
        ("/v1/bulk", {"q": "data.card:4711"}, action | count),
        ("/v1/bulk", {"q": "data.card:4711"}, action),
        ("/v1/bulk", {"id_prefix": "pai"}, action),
        ("/v1/bulk", {"in_channel": "eu"}, action),
        ("/v1/bulk", {"type": "order.paid"}, action | count),
        ("/v1/recoveries", {}, since | count),
        (f"/v1/webhooks/{webhook}/recover", {}, since | count),
    ]
    async with calling(instance.app, writes["key"]) as http:
        for path, params, body in asked:
            refused = problem(await http.post(path, params=params, json=body), 403)
            assert "lacks the scope events:read" in refused["detail"], (path, params)
        answer = await http.post("/v1/bulk", params={"type": "order.paid"}, json=action)
        assert (answer.status_code, answer.json()["found"]) == (202, None)
    async with calling(instance.app, reads["key"]) as http:
        for path, params, body in asked:
            if "dry_run" in body:
                assert (await http.post(path, params=params, json=body)).status_code == 200, (path, params)


async def test_a_search_in_data_needs_a_tenant_and_a_query_that_can_be_read(instance: Instance) -> None:
    http = instance.http
    assert problem(await http.get("/v1/events", params={"q": "4711"}), 422)["errors"][0]["path"] == "q"
    for q in ("", '"open', "1 2 3 4 5 6", "x" * 401):
        answer = await http.get("/v1/events", params={"tenant": instance.tenant, "q": q})
        assert problem(answer, 422)["errors"][0]["path"] == "q", q


@pytest.mark.promise("docs/events.md")
async def test_a_key_of_a_tenant_searches_its_own_events(instance: Instance) -> None:
    await declare(instance, "order_id")
    await instance.send(id="mine", data={"order_id": 1})
    key = await make_key(instance, f"{instance.tenant}-b")
    async with calling(instance.app, key["key"]) as http:
        assert (await http.get("/v1/events", params={"q": "data.order_id:1"})).json()["items"] == []
        assert (await http.get("/v1/events", params={"q": "mine"})).json()["items"] == []
        assert (await http.get("/v1/search-keys")).json()["items"] == []


async def test_search_keys_are_replaced_listed_and_audited(instance: Instance) -> None:
    http, tenant = instance.http, instance.tenant
    await declare(instance, "a", "b.c")
    await declare(instance, "a", "b.c")
    listed = (await http.get("/v1/search-keys", params={"tenant": tenant})).json()["items"]
    assert listed == [{"tenant": tenant, "paths": ["a", "b.c"]}]
    await declare(instance)
    assert (await http.get("/v1/search-keys", params={"tenant": tenant})).json()["items"] == []
    entries = (await http.get("/v1/audit", params={"tenant": tenant})).json()["items"]
    assert [entry["action"] for entry in entries] == ["search-keys.update"] * 2
    for paths in (["a"] * 6, ["a b"], ["a..b"], ["x" * 101], ["a[0]"]):
        answer = await http.put("/v1/search-keys", json={"tenant": tenant, "paths": paths})
        assert problem(answer, 422)["errors"][0]["path"].startswith("paths"), paths
    bad = {"name": f"{tenant}.x", "search_keys": ["a.*"]}
    assert problem(await http.post("/v1/event-types", json=bad), 422)["errors"][0]["path"] == "search_keys.0"


async def test_the_search_keys_of_a_type_are_shown_and_changed(instance: Instance) -> None:
    http, name = instance.http, f"{instance.tenant}.paid"
    assert (await http.post("/v1/event-types", json={"name": name})).json()["search_keys"] == []
    changed = await http.patch(f"/v1/event-types/{name}", json={"search_keys": ["order_id"]})
    assert changed.json()["search_keys"] == ["order_id"]
    assert (await http.get(f"/v1/event-types/{name}")).json()["search_keys"] == ["order_id"]


@pytest.mark.promise("docs/events.md")
async def test_an_erased_event_is_not_found(instance: Instance) -> None:
    await declare(instance, "order_id")
    await instance.send(id="erased", data={"order_id": 1})
    await instance.until_closed("erased")
    assert await ids(instance, "data.order_id:1") == ["erased"]
    answer = await instance.http.delete("/v1/events/erased/data", params={"tenant": instance.tenant})
    assert answer.status_code == 202
    assert await ids(instance, "data.order_id:1") == []


@pytest.fixture
async def encrypted(temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    async with running_instance(temporal, tmp_path, encryption_keys=new_key("k1")) as instance:
        yield instance


async def test_encrypted_data_are_searched_too(encrypted: Instance, tmp_path: Path) -> None:
    await declare(encrypted, "order_id")
    await encrypted.send(id="e", data={"order_id": "secret-4711", "name": "Acme"})
    assert await ids(encrypted, "data.order_id:secret-4711") == ["e"]
    assert await ids(encrypted, "data.name:Acme") == ["e"]
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("registry.db*"))
    assert b"secret-4711" not in stored
    assert b"hmac:k1:" in stored


async def test_encrypted_urls_of_webhooks_are_searched(encrypted: Instance) -> None:
    shop = await encrypted.webhook("https://shop.example/hook", name="Shop", metadata={"team": "a b"})
    await encrypted.webhook("https://other.example/hook")
    for q in ("shop.example", "SHOP", 'metadata.team:"a b"'):
        answer = await encrypted.http.get("/v1/webhooks", params={"q": q})
        assert [item["id"] for item in answer.json()["items"]] == [shop["id"]], q
    problem(await encrypted.http.get("/v1/webhooks", params={"q": '"open'}), 422, "q")
