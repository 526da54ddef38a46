"""`hookkeeper keys`: a tenant gets a key, works with it on the command line, and loses it."""

import json
from pathlib import Path

import stage

pytest_plugins = ["devs"]

USUAL = ["events:write", "events:read", "webhooks:write", "webhooks:read"]


async def hookkeeper_as(dev: stage.Dev, key: str, *args: str) -> stage.Done:
    """Run a client command with another key than the dev's own."""
    return await stage.hookkeeper(
        *args, cwd=dev.folder, settings={"HOOKKEEPER_URL": dev.url, "HOOKKEEPER_API_KEY": key}
    )


async def make_key(dev: stage.Dev, *args: str) -> dict[str, object]:
    made = await dev.run("keys", "create", "--json", *args)
    assert (made.code, made.err) == (0, ""), made
    return json.loads(made.out)  # type: ignore[no-any-return]


async def test_a_tenants_key_from_its_making_to_its_end(running_dev: stage.Dev, tenant: str) -> None:
    """Setup: the operator makes a key for a tenant.
    Timeline: the tenant registers a webhook, sends, holds, lists, and tries another tenant; the key is revoked.
    What this proves: with the key nobody has to name the tenant, and nobody can name another.
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
    """Look for the key in all that `dev` keeps: databases, logs."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".log" for file in files)
    assert not [file for file in files if key.encode() in file.read_bytes()]


async def test_what_a_key_is_for_has_to_be_said(running_dev: stage.Dev, tenant: str) -> None:
    for wrong in (("--name", "x"), ("--name", "x", "--tenant", tenant, "--all-tenants"), ("--tenant", tenant)):
        refused = await running_dev.run("keys", "create", *wrong)
        assert refused.code == 2, refused
    bad = await running_dev.run("keys", "create", "--name", "x", "--tenant", tenant, "--scope", "everything")
    assert bad.code == 1
    assert "scopes.0" in bad.err


async def test_a_key_can_be_for_all_tenants_and_for_little(running_dev: stage.Dev, tenant: str) -> None:
    options = ("--rate-limit", "2/day", "--expires-at", "2099-01-01T00:00:00Z")
    made = await make_key(
        running_dev, "--name", "reader", "--all-tenants", "--scope", "events:read", "--scope", "webhooks:read", *options
    )
    assert (made["tenant"], made["scopes"]) == (None, ["events:read", "webhooks:read"])
    key = str(made["key"])
    assert "lacks the scope events:write" in (await hookkeeper_as(running_dev, key, "send", "order.paid")).err
    assert (await hookkeeper_as(running_dev, key, "webhooks", "list", "--tenant", tenant)).code == 0
    limited = await hookkeeper_as(running_dev, key, "webhooks", "list")
    assert "429 Too Many Requests: The key may make 2 requests a day." in limited.err
    told = await running_dev.run("keys", "create", "--name", "for people", "--tenant", tenant)
    assert told.out.startswith("hk_")
    assert "The key is shown only once." in told.out
