"""`hookkeeper keys`: a tenant's key is created, used on the command line, and revoked."""

import asyncio
import json
from pathlib import Path

import processes

from timeouts import WAIT_TIMEOUT

pytest_plugins = ["dev_fixtures"]

USUAL = ["events:write", "events:read", "webhooks:write", "webhooks:read"]


async def hookkeeper_as(dev: processes.Dev, key: str, *args: str) -> processes.Done:
    """Run a client command with another key."""
    return await processes.hookkeeper(
        *args, cwd=dev.folder, settings={"HOOKKEEPER_URL": dev.url, "HOOKKEEPER_API_KEY": key}
    )


async def make_key(dev: processes.Dev, *args: str) -> dict[str, object]:
    made = await dev.run("keys", "create", "--json", *args)
    assert (made.code, made.err) == (0, ""), made
    return json.loads(made.out)  # type: ignore[no-any-return]


async def test_the_life_of_a_tenants_key(running_dev: processes.Dev, tenant: str) -> None:
    """Setup: the operator makes a key for a tenant.
    Timeline: the tenant registers a webhook, sends, holds, lists, and tries another tenant; the key is revoked.
    Proves: the key determines the tenant, and no other can be named.
    """
    made = await make_key(running_dev, "--tenant", tenant, "--name", "backend")
    assert set(made) == {"id", "key", "tenant", "scopes"}
    assert (made["tenant"], made["scopes"]) == (tenant, USUAL)
    key, key_id = str(made["key"]), str(made["id"])

    webhook = await hookkeeper_as(running_dev, key, "webhooks", "create", "https://acme.example", "--json")
    assert json.loads(webhook.out)["tenant"] == tenant
    sent = json.loads((await hookkeeper_as(running_dev, key, "send", "order.paid", "--json")).out)
    assert sent["tenant"] == tenant
    shown = await hookkeeper_as(running_dev, key, "events", "show", sent["id"], "--json")
    assert json.loads(shown.out)["id"] == sent["id"]
    assert (await hookkeeper_as(running_dev, key, "events", "cancel", sent["id"])).code == 0
    added = await hookkeeper_as(running_dev, key, "suppressions", "add", "ann@acme.example")
    assert tenant in added.out
    removed = await hookkeeper_as(running_dev, key, "suppressions", "remove", "ann@acme.example")
    assert (removed.code, removed.out) == (0, "ann@acme.example gets emails again\n")

    other = await hookkeeper_as(running_dev, key, "send", "order.paid", "--tenant", "other")
    assert (other.code, other.out) == (1, "")
    assert f"403 Forbidden: The key is bound to tenant {tenant}" in other.err
    keys = await hookkeeper_as(running_dev, key, "keys", "list")
    assert "The key lacks the scope admin." in keys.err

    listed = await running_dev.run("keys", "list", "--tenant", tenant)
    assert f"{key_id}  backend  {tenant}" in listed.out
    assert key not in listed.out
    assert (await running_dev.run("keys", "revoke", key_id)).out == f"{key_id} is revoked\n"
    after = await hookkeeper_as(running_dev, key, "events", "list")
    assert "401 Unauthorized: The key was revoked." in after.err
    assert "revoked 2" in (await running_dev.run("keys", "list", "--tenant", tenant)).out
    assert_unknown_to_files(running_dev.folder, key)


def assert_unknown_to_files(folder: Path, key: str) -> None:
    """Search for the key in all files of `dev`: databases, logs."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".log" for file in files)
    assert not [file for file in files if key.encode() in file.read_bytes()]


async def test_a_key_needs_a_name_and_a_tenant(running_dev: processes.Dev, tenant: str) -> None:
    for wrong in (("--name", "x"), ("--name", "x", "--tenant", tenant, "--all-tenants"), ("--tenant", tenant)):
        refused = await running_dev.run("keys", "create", *wrong)
        assert refused.code == 2, refused
    bad = await running_dev.run("keys", "create", "--name", "x", "--tenant", tenant, "--scope", "everything")
    assert bad.code == 1
    assert "scopes.0" in bad.err


async def test_a_key_for_all_tenants_with_few_rights(running_dev: processes.Dev, tenant: str) -> None:
    options = ("--rate-limit", "2/day", "--expires-at", "2099-01-01T00:00:00Z")
    made = await make_key(
        running_dev, "--name", "reader", "--all-tenants", "--scope", "events:read", "--scope", "webhooks:read", *options
    )
    assert (made["tenant"], made["scopes"]) == (None, ["events:read", "webhooks:read"])
    key = str(made["key"])
    assert "lacks the scope events:write" in (await hookkeeper_as(running_dev, key, "send", "order.paid")).err
    assert (await hookkeeper_as(running_dev, key, "webhooks", "list", "--tenant", tenant)).code == 0
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not (limited := await hookkeeper_as(running_dev, key, "webhooks", "list")).err:
            pass  # each API process of an installation counts for itself
    assert "429 Too Many Requests: The key may make 2 requests a day." in limited.err
    printed = await running_dev.run("keys", "create", "--name", "for people", "--tenant", tenant)
    assert printed.out.startswith("hk_")
    assert "The key is shown only once." in printed.out
