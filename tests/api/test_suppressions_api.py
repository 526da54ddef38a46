"""Suppressed addresses over HTTP."""

import base64
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from problems import problem
from temporalio.client import Client

from hookkeeper.registry.models import Suppression
from instances import Instance, running_instance

PATH = "/v1/suppressions"


async def add(instance: Instance, address: str, **fields: Any) -> httpx.Response:
    return await instance.http.post(PATH, json={"tenant": instance.tenant, "address": address, **fields})


async def listed(instance: Instance, **query: Any) -> list[str]:
    """Read all pages, as addresses."""
    found: list[str] = []
    params = {"tenant": instance.tenant, "limit": 2, **query}
    while True:
        answer = await instance.http.get(PATH, params=params)
        assert answer.status_code == 200, answer.text
        found += [item["address"] for item in answer.json()["items"]]
        if (cursor := answer.json()["next_cursor"]) is None:
            return found
        params["cursor"] = cursor


@pytest.mark.promise("docs/emails.md")
async def test_an_address_can_be_suppressed_listed_and_removed(instance: Instance) -> None:
    address = f"ann@{instance.tenant}.example"  # other tests suppress addresses of the default tenant
    added = await add(instance, address.replace("ann", "Ann"), detail="Asked by phone.")
    assert added.status_code == 201
    entry = added.json()
    created_at = entry.pop("created_at")
    assert created_at.endswith("Z")
    assert entry == {
        "tenant": instance.tenant,
        "address": address,
        "reason": "manual",
        "detail": "Asked by phone.",
    }
    assert await listed(instance) == [address]
    assert await instance.store.suppressions.among(instance.tenant, [address]) == {address}

    path, query = f"{PATH}/{address.upper()}", {"tenant": instance.tenant}
    problem(await instance.http.delete(path), 404)
    assert (await instance.http.delete(path, params=query)).status_code == 204
    problem(await instance.http.delete(path, params=query), 404)
    assert await listed(instance) == []


async def test_an_address_that_is_suppressed_already_is_not_changed(instance: Instance) -> None:
    bounced = Suppression(tenant=instance.tenant, address="ann@acme.example", reason="bounced", detail="550")
    await instance.store.suppressions.add(bounced)
    again = await add(instance, "ann@acme.example", detail="mine")
    assert again.status_code == 200
    assert (again.json()["reason"], again.json()["detail"]) == ("bounced", "550")


async def test_a_suppression_without_a_tenant_has_the_default_one(instance: Instance) -> None:
    assert (await instance.http.post(PATH, json={"address": "ann@acme.example"})).json()["tenant"] == "default"
    assert await listed(instance) == []
    assert (await instance.http.delete(f"{PATH}/ann@acme.example")).status_code == 204


async def test_pages_cover_all_newest_first(instance: Instance) -> None:
    for n in range(5):
        await add(instance, f"u{n}@acme.example")
    assert await listed(instance) == [f"u{n}@acme.example" for n in (4, 3, 2, 1, 0)]
    assert await listed(instance, address="U3@ACME.example") == ["u3@acme.example"]
    assert await listed(instance, address="unknown") == []
    await instance.http.post(PATH, json={"tenant": "other", "address": "u3@acme.example"})
    everyones = await instance.http.get(PATH, params={"address": "u3@acme.example"})
    assert [item["tenant"] for item in everyones.json()["items"]] == ["other", instance.tenant]


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("a/b+C@acme.example", "a/b+c@acme.example"),
        ("o'neil@Bücher.example", "o'neil@xn--bcher-kva.example"),
        ("Ann <ann@acme.example>", "ann@acme.example"),
    ],
)
async def test_an_address_is_found_however_it_is_written(instance: Instance, address: str, kept: str) -> None:
    assert (await add(instance, address)).json()["address"] == kept
    assert await listed(instance, address=address) == await listed(instance, address=kept) == [kept]
    path, query = f"{PATH}/{quote(address, safe='')}", {"tenant": instance.tenant}
    assert (await instance.http.delete(path, params=query)).status_code == 204


async def test_an_invalid_address_that_a_provider_reported_can_be_removed(instance: Instance) -> None:
    """A provider has reported it."""
    await instance.store.suppressions.add(Suppression(tenant="default", address="root@localhost", reason="bounced"))
    assert (await instance.http.delete(f"{PATH}/root@localhost")).status_code == 204


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "address"),
        ({"address": None}, "address"),
        ({"address": ""}, "address"),
        ({"address": "ann"}, "address"),
        ({"address": "ann@acme.example, bob@acme.example"}, "address"),
        ({"address": "jösé@acme.example"}, "address"),
        ({"address": "ann@acme.example\nbcc: x@y.example"}, "address"),
        ({"address": "a\0@acme.example"}, "address"),
        ({"address": "a" * 400 + "@acme.example"}, "address"),
        ({"address": "ann@acme.example", "tenant": "a b"}, "tenant"),
        ({"address": "ann@acme.example", "detail": "x" * 1025}, "detail"),
        ({"address": "ann@acme.example", "detail": "\0"}, "detail"),
        ({"address": "ann@acme.example", "reason": "bounced"}, "reason"),
    ],
    ids=str,
)
async def test_an_invalid_suppression_is_refused(idle_instance: Instance, body: dict[str, Any], path: str) -> None:
    problem(await idle_instance.http.post(PATH, json=body), 422, path)
    assert (await idle_instance.http.get(PATH)).json()["items"] == []


def written(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "!", "é", "AAAA", "_w"),
        written("2026-01-01T00:00:00+00:00 acme"),
        written("2026-99-01T00:00:00+00:00 acme a@b.example"),
        written("2026-01-01T00:00:00+00:00 acme a\0@b.example"),
    ],
)
async def test_a_forged_cursor_of_suppressions_is_refused(instance: Instance, cursor: str) -> None:
    problem(await instance.http.get(PATH, params={"cursor": cursor}), 400, "cursor")


async def test_a_bad_query_of_suppressions_is_refused(instance: Instance) -> None:
    problem(await instance.http.get(PATH, params={"address": "a\0"}), 422, "address")
    problem(await instance.http.get(PATH, params={"limit": 0, "tenant": "a b"}), 422, "limit", "tenant")
    problem(await instance.http.delete(f"{PATH}/a%00@b.example"), 422, "address")


async def test_a_tenant_with_its_maximum_of_suppressions_affects_no_other(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, max_suppressions_per_tenant=2) as instance:
        for n in range(2):
            assert (await add(instance, f"u{n}@acme.example")).status_code == 201
        document = problem(await add(instance, "u2@acme.example"), 409)
        assert "has added 2 suppressed addresses, which is the maximum. Remove one." in document["detail"]
        assert (await add(instance, "u1@acme.example")).status_code == 200
        assert (await add(instance, "u2@acme.example", tenant="other")).status_code == 201
