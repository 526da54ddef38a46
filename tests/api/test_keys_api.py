"""API keys: created, used, limited and revoked. None is in a log or an answer."""

import asyncio
import logging
import sqlite3
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from callers import calling, make_key
from problems import problem
from pydantic import SecretStr
from structlog.testing import capture_logs
from temporalio.client import Client

from api.authenticator import Authenticator
from hookkeeper.crypto.tokens import is_token
from hookkeeper.registry.storage.database import CONNECT_TIMEOUT
from hookkeeper.registry.store import Store
from instance_parts import new_app
from instances import KEY, Instance, running_instance
from timeouts import WAIT_TIMEOUT, FutureClock, lateness

USUAL = ["events:write", "events:read", "webhooks:write", "webhooks:read"]
PATH = "/v1/webhooks"


async def status(app: Any, key: str, address: str = "192.0.2.1") -> int:
    async with calling(app, key, address) as http:
        return (await http.get(PATH)).status_code


async def all_keys(instance: Instance, **query: Any) -> dict[str, dict[str, Any]]:
    answer = await instance.http.get("/v1/keys", params=query)
    return {item["id"]: item for item in answer.json()["items"]}


# Make, list, revoke


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_a_key_is_shown_once(instance: Instance) -> None:
    made = await make_key(instance, "acme")
    assert is_token(made["key"], "hk_")
    assert (made["tenant"], made["scopes"], made["rate_limit"]) == ("acme", USUAL, None)
    listed = (await all_keys(instance))[made["id"]]
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert await status(instance.app, made["key"]) == 200
    kept = Path(instance.settings.database_url.removeprefix("sqlite+aiosqlite:///"))
    for file in kept.parent.iterdir():
        assert made["key"].encode() not in file.read_bytes()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "x"}, "tenant"),
        ({"tenant": "acme"}, "name"),
        ({"name": "", "tenant": None}, "name"),
        ({"name": "x", "tenant": "a b"}, "tenant"),
        ({"name": "x", "tenant": "acme", "scopes": []}, "scopes"),
        ({"name": "x", "tenant": "acme", "scopes": ["events:all"]}, "scopes.0"),
        ({"name": "x", "tenant": "acme", "scopes": ["admin"]}, "scopes"),
        ({"name": "x", "tenant": None, "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "tenant": None, "rate_limit": "0/second"}, "rate_limit"),
        ({"name": "x", "tenant": None, "rate_limit": "many"}, "rate_limit"),
        ({"name": "x", "tenant": None, "key": "hk_mine"}, "key"),
    ],
    ids=str,
)
async def test_an_invalid_key_is_refused(idle_instance: Instance, body: dict[str, Any], path: str) -> None:
    problem(await idle_instance.http.post("/v1/keys", json=body), 422, path)
    assert await all_keys(idle_instance) == {}


async def test_keys_are_listed_by_tenant_and_in_pages(idle_instance: Instance) -> None:
    made = [(await make_key(idle_instance, tenant))["id"] for tenant in ("acme", "bolt", "acme", None)]
    assert list(await all_keys(idle_instance, tenant="acme")) == [made[2], made[0]]
    first = (await idle_instance.http.get("/v1/keys", params={"limit": 3})).json()
    second = (await idle_instance.http.get("/v1/keys", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    problem(await idle_instance.http.get("/v1/keys", params={"cursor": "x"}), 400, "cursor")


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_a_revoked_key_is_refused_at_once_and_in_other_processes_within_a_second(
    instance: Instance, clock: FutureClock
) -> None:
    other_store = Store.connect(instance.settings.database_url)
    other = new_app(instance.settings, other_store, instance.gateway)
    made = await make_key(instance, "acme")
    async with calling(other, made["key"]) as there, calling(instance.app, made["key"]) as here:
        assert [(await http.get(PATH)).status_code for http in (here, there)] == [200, 200]
        assert (await instance.http.delete(f"/v1/keys/{made['id']}")).status_code == 200
        assert problem(await here.get(PATH), 401)["detail"] == "The key was revoked."
        clock.passes(1.01)
        assert problem(await there.get(PATH), 401)["detail"] == "The key was revoked."
    await other.state.api.authenticator.aclose()
    await other_store.close()


async def test_revoking_a_key_again_changes_nothing(instance: Instance) -> None:
    made = await make_key(instance, "acme")
    path = f"/v1/keys/{made['id']}"
    await instance.http.delete(path)
    revoked = (await all_keys(instance))[made["id"]]["revoked_at"]
    assert revoked
    assert (await instance.http.delete(path)).status_code == 200
    assert (await all_keys(instance))[made["id"]]["revoked_at"] == revoked
    problem(await instance.http.delete("/v1/keys/key_nowhere"), 404)


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_an_expired_key_is_refused(instance: Instance, clock: FutureClock) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=10)
    made = await make_key(instance, "acme", expires_at=soon.isoformat())
    async with calling(instance.app, made["key"]) as http:
        clock.passes(300)
        assert (await http.get(PATH)).status_code == 200
        clock.passes(300)
        assert problem(await http.get(PATH), 401)["detail"] == "The key has expired."


async def test_a_key_with_scope_admin_manages_keys_and_nothing_else(instance: Instance) -> None:
    made = await make_key(instance, None, scopes=["admin"])
    async with calling(instance.app, made["key"]) as http:
        answer = await http.post("/v1/keys", json={"name": "made by a key", "tenant": "acme"})
        assert answer.status_code == 201
        problem(await http.get(PATH), 403)


# Use


async def test_the_last_use_of_a_key_is_written_once_a_minute(instance: Instance) -> None:
    made = await make_key(instance, "acme")
    assert made["last_used_at"] is None
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    await asyncio.gather(*(status(instance.app, made["key"]) for _ in range(10)))
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (used := (await all_keys(instance))[made["id"]]["last_used_at"]) is None:
            await asyncio.sleep(0.02)
    assert before <= datetime.fromisoformat(used)
    await asyncio.sleep(0.05)
    await status(instance.app, made["key"])
    await asyncio.sleep(0.2)
    assert (await all_keys(instance))[made["id"]]["last_used_at"] == used


async def test_no_request_waits_until_the_last_use_of_its_key_is_written(instance: Instance) -> None:
    """Another process holds the only lock for writing that SQLite has."""
    made = await make_key(instance, "acme")
    blocker = sqlite3.connect(instance.settings.database_url.removeprefix("sqlite+aiosqlite:///"), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    async with lateness() as late:
        began = time.monotonic()
        assert [await status(instance.app, made["key"]) for _ in range(3)] == [200] * 3
        assert time.monotonic() - began < 0.8 * CONNECT_TIMEOUT + late.seconds, "so long each would wait for the lock"
    blocker.execute("ROLLBACK")
    blocker.close()


async def test_the_admin_key_needs_no_registry(temporal: Client, tmp_path: Path, instance: Instance) -> None:
    made = await make_key(instance, "acme")
    lost = Store.connect("postgresql+asyncpg://u@127.0.0.1:1/registry")
    app = new_app(instance.settings, lost, instance.gateway)
    async with calling(app, KEY) as http:
        assert (await http.get("/v1/recoveries")).status_code == 200
    async with calling(app, made["key"]) as http:
        answer = await http.get("/v1/events")
        problem(answer, 503)
        assert answer.headers["retry-after"]
    async with calling(app, "no-key-of-ours-at-all") as http:
        problem(await http.get("/v1/events"), 401)
    await lost.close()


# Limits


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_a_key_has_its_rate_limit(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, rate_limit="3/day") as instance:
        usual, own, other = [await make_key(instance, "acme", rate_limit=rate) for rate in (None, "5/day", None)]
        assert [await status(instance.app, usual["key"]) for _ in range(5)] == [200] * 3 + [429] * 2
        assert [await status(instance.app, own["key"]) for _ in range(6)] == [200] * 5 + [429]
        assert await status(instance.app, other["key"]) == 200
        assert [await status(instance.app, KEY) for _ in range(6)] == [200] * 6


async def test_the_429_of_a_rate_limit_has_retry_after(instance: Instance, clock: FutureClock) -> None:
    made = await make_key(instance, "acme", rate_limit="2/second")
    async with calling(instance.app, made["key"]) as http, asyncio.timeout(WAIT_TIMEOUT):
        while (answer := await http.get(PATH)).status_code == 200:
            pass
        assert problem(answer, 429)["detail"] == "The key may make 2 requests a second."
        assert answer.headers["retry-after"] == "1"
        clock.passes(1)
        assert (await http.get(PATH)).status_code == 200


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_invalid_keys_are_limited_by_address_and_lock_no_other_address_out(instance: Instance) -> None:
    made = await make_key(instance, "acme")
    async with calling(instance.app, "hk_" + "x" * 43) as http:
        answers = [await http.get(PATH) for _ in range(41)]
    assert [answer.status_code for answer in answers[:20]] == [401] * 20
    assert problem(answers[-1], 429)["detail"].startswith("Too many requests from this address")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert await status(instance.app, made["key"]) == 200, "a good key from the same address: a proxy, say"
    assert await status(instance.app, "hk_" + "x" * 43, "192.0.2.2") == 401
    async with calling(instance.app, None) as http:
        problem(await http.get(PATH), 401)


async def test_a_tenant_has_a_maximum_of_webhooks(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, max_webhooks_per_tenant=2) as instance:
        made = [await instance.webhook("https://acme.example") for _ in range(2)]
        body = {"url": "https://acme.example", "tenant": instance.tenant}
        refused = problem(await instance.http.post(PATH, json=body), 409)
        assert refused["detail"] == f"Tenant {instance.tenant} has 2 webhooks, which is the maximum."
        assert (await instance.http.post(PATH, json=body | {"tenant": "other"})).status_code == 201
        await instance.http.delete(f"{PATH}/{made[0]['id']}")
        assert (await instance.http.post(PATH, json=body)).status_code == 201


# Secrecy


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_no_key_is_in_a_log_or_an_answer(
    instance: Instance, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    answers: list[httpx.Response] = []
    with capture_logs() as lines:
        made = await make_key(instance, "acme", scopes=["webhooks:read"], rate_limit="4/day")
        async with calling(instance.app, made["key"]) as http:
            for method, path in (("GET", PATH), ("POST", PATH), ("GET", "/v1/nowhere"), ("GET", "/v1/keys")):
                answers.append(await http.request(method, path))
            answers += [await http.get(PATH) for _ in range(4)]
            answers.append(await instance.http.delete(f"/v1/keys/{made['id']}"))
            answers.append(await http.get(PATH))
    assert {answer.status_code for answer in answers} >= {200, 401, 403, 404, 429}
    written = "".join(answer.text for answer in answers) + str(lines) + caplog.text + "".join(capfd.readouterr())
    assert made["id"] in str(lines)
    for key in (made["key"], KEY):
        assert key not in written
        assert key[8:30] not in written


async def test_the_authenticator_finishes_its_writes_before_it_closes(idle_instance: Instance) -> None:
    made = await make_key(idle_instance, "acme")
    admin = idle_instance.settings.admin_key or SecretStr("")
    idle_instance.app.state.api.authenticator = Authenticator(
        [admin.get_secret_value()], idle_instance.store.api_keys, idle_instance.store.portal, None
    )
    async with aclosing(idle_instance.app.state.api.authenticator):
        await status(idle_instance.app, made["key"])
    assert (await all_keys(idle_instance))[made["id"]]["last_used_at"]


async def test_each_key_can_read_what_it_is(instance: Instance) -> None:
    """Whatever its only scope is. Tenant and scopes are the key's, and the name of the admin key is none of a key."""
    made = await make_key(instance, "acme", scopes=["webhooks:secrets"])
    async with calling(instance.app, made["key"]) as http:
        shown = await http.get("/v1/keys/current")
    assert shown.json() == {name: made[name] for name in ("id", "name", "tenant", "scopes")}
    admin = (await instance.http.get("/v1/keys/current")).json()
    assert (admin["id"], admin["tenant"], "admin" in admin["scopes"]) == ("admin", None, True)
    async with calling(instance.app, None) as http:
        problem(await http.get("/v1/keys/current"), 401)
