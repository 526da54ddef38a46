"""The audit log: who changed what, by the names of fields and never their values."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from callers import calling, make_key
from problems import problem
from structlog.testing import capture_logs

from hookkeeper.registry.storage.database import RegistryUnavailable
from instances import Instance

SECRETS = ("hush-hush", "whsec_", "secret.example", "ann@", "amount")


async def log_of(instance: Instance, **query: Any) -> list[dict[str, Any]]:
    """Return all entries, oldest first."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        params = {"limit": 3, **query} | ({"cursor": cursor} if cursor else {})
        answer = await instance.http.get("/v1/audit", params=params)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        if (cursor := answer.json()["next_cursor"]) is None:
            return items[::-1]


def shown(entries: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    return [(entry["action"], entry["object_id"], entry["detail"].get("fields")) for entry in entries]


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_each_change_has_an_entry_that_names_fields(idle_instance: Instance) -> None:
    http, tenant = idle_instance.http, idle_instance.tenant
    made = await idle_instance.webhook(
        "https://secret.example/hush-hush", headers={"x-key": "hush-hush"}, filter="event.data.amount > 1"
    )
    path = f"/v1/webhooks/{made['id']}"
    await http.patch(path, json={"name": "hush-hush", "metadata": {"a": "hush-hush"}})
    await http.get(f"{path}/secret")
    await http.post(f"{path}/rotate-secret", json={"grace": 60})
    await http.delete(path)
    await http.post("/v1/event-types", json={"name": "a.b", "schema": {}})
    await http.patch("/v1/event-types/a.b", json={"schema": None, "description": "hush-hush"})
    await http.delete("/v1/event-types/a.b")
    await http.post("/v1/suppressions", json={"tenant": tenant, "address": "bob@acme.example", "detail": "hush-hush"})
    await http.delete("/v1/suppressions/bob@acme.example", params={"tenant": tenant})
    key = await make_key(idle_instance, tenant)
    await http.delete(f"/v1/keys/{key['id']}")

    entries = await log_of(idle_instance)
    assert shown(entries) == [
        ("webhook.create", made["id"], ["filter", "headers", "tenant", "url"]),
        ("webhook.update", made["id"], ["metadata", "name"]),
        ("webhook.show-secret", made["id"], None),
        ("webhook.rotate-secret", made["id"], ["grace"]),
        ("webhook.delete", made["id"], None),
        ("event-type.create", "a.b", ["name", "schema"]),
        ("event-type.update", "a.b", ["description", "schema"]),
        ("event-type.delete", "a.b", None),
        ("suppression.create", "bob@acme.example", ["address", "detail", "tenant"]),
        ("suppression.delete", "bob@acme.example", None),
        ("key.create", key["id"], ["name", "tenant"]),
        ("key.revoke", key["id"], None),
    ]
    assert {(entry["key_id"], entry["key_name"]) for entry in entries} == {("admin", "HOOKKEEPER_ADMIN_KEY")}
    assert {entry["tenant"] for entry in entries} == {tenant, None}
    assert not any(secret in json.dumps(entries) for secret in SECRETS)


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_commands_to_events_are_recorded_before_they_are_answered(own_instance: Instance) -> None:
    later = [(datetime.now(UTC) + timedelta(hours=hours)).isoformat() for hours in (1, 2)]
    webhook_id = (await own_instance.webhook("https://acme.example"))["id"]
    event_id = (await own_instance.send(deliver_at=later[0]))["id"]
    await own_instance.http.post(
        f"/v1/events/{event_id}/reschedule", params={"tenant": own_instance.tenant}, json={"deliver_at": later[1]}
    )
    for command, delivery in (("hold", webhook_id), ("cancel", None), ("retry", "wh_nowhere"), ("redeliver", None)):
        answer = await own_instance.command(event_id, command, delivery)
        taken = [entry["action"] for entry in await log_of(own_instance)]
        assert (f"event.{command}" in taken) is (answer.status_code == 202), answer.text
    entries = [
        entry for entry in await log_of(own_instance, tenant=own_instance.tenant) if entry["object_id"] == event_id
    ]
    assert [(entry["action"], entry["detail"]) for entry in entries] == [
        ("event.reschedule", {"fields": ["deliver_at"]}),
        ("event.hold", {"delivery": webhook_id}),
        ("event.cancel", {}),
        ("event.redeliver", {}),
    ]


async def test_an_entry_names_the_key(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant, name="backend")
    async with calling(instance.app, key["key"]) as http:
        made = (await http.post("/v1/webhooks", json={"url": "https://acme.example"})).json()
    entry = (await log_of(instance))[-1]
    assert (entry["key_id"], entry["key_name"], entry["object_id"]) == (key["id"], "backend", made["id"])
    assert entry["tenant"] == instance.tenant
    assert entry["id"].startswith("aud_")


async def test_a_refused_request_has_no_entry(instance: Instance) -> None:
    http = instance.http
    await http.post("/v1/event-types", json={"name": "a.b"})
    await http.post("/v1/suppressions", json={"address": "ann@acme.example"})
    webhook = await instance.webhook("https://acme.example", headers={"x-key": "hush-hush"})
    known = f"/v1/webhooks/{webhook['id']}"
    await http.get(f"{known}/secret")
    as_it_is = {name: webhook[name] for name in ("name", "url", "events", "headers", "emails", "payload", "enabled")}
    before = len(await log_of(instance))
    for method, path, body in (
        ("PATCH", known, as_it_is),
        ("PATCH", "/v1/event-types/a.b", {"archived": False}),
        ("GET", f"{known}/secret", None),
        ("POST", "/v1/event-types", {"name": "a.b"}),  # is there already
        ("POST", "/v1/suppressions", {"address": "ann@acme.example"}),
        ("POST", "/v1/webhooks", {"url": "nonsense"}),
        ("PATCH", "/v1/webhooks/wh_nowhere", {"name": "x"}),
        ("DELETE", "/v1/webhooks/wh_nowhere", None),
        ("DELETE", "/v1/event-types/nowhere", None),
        ("DELETE", "/v1/keys/key_nowhere", None),
        ("DELETE", "/v1/portal-sessions/prt_nowhere", None),
        ("POST", "/v1/portal-links", {"path": "/nowhere"}),
        ("POST", "/v1/events/nowhere/cancel", None),
    ):
        await http.request(method, path, json=body)
    assert len(await log_of(instance)) == before


async def test_the_log_can_be_searched(idle_instance: Instance) -> None:
    begun = datetime.now(UTC)
    await idle_instance.webhook("https://acme.example")
    between = (await log_of(idle_instance))[-1]["at"]
    await make_key(idle_instance, "bolt")
    assert [entry["action"] for entry in await log_of(idle_instance, tenant="bolt")] == ["key.create"]
    assert [entry["action"] for entry in await log_of(idle_instance, tenant=idle_instance.tenant)] == ["webhook.create"]
    after = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    assert len(await log_of(idle_instance, since=begun.isoformat(), until=after)) == 2
    assert await log_of(idle_instance, since=after) == []
    assert await log_of(idle_instance, until=begun.isoformat()) == []
    assert between
    problem(await idle_instance.http.get("/v1/audit", params={"since": "yesterday"}), 422, "since")
    problem(await idle_instance.http.get("/v1/audit", params={"cursor": "x"}), 400, "cursor")


async def test_each_entry_has_a_log_line(idle_instance: Instance) -> None:
    with capture_logs() as lines:
        made = await idle_instance.webhook("https://acme.example", headers={"x-key": "hush-hush"})
        await idle_instance.http.post("/v1/suppressions", json={"address": "ann@acme.example"})
    webhook, suppression = lines
    (entry, _) = await log_of(idle_instance)
    assert webhook == {
        "event": "webhook.create",
        "log_level": "info",
        "object": made["id"],
        "tenant": idle_instance.tenant,
        "key": "admin",
        "key_name": "HOOKKEEPER_ADMIN_KEY",
        "entry": entry["id"],
        "fields": ["headers", "tenant", "url"],
    }
    assert suppression["event"] == "suppression.create"
    assert "ann@" not in str(suppression)


async def test_a_change_is_not_made_without_its_entry(idle_instance: Instance) -> None:
    """The table of entries is gone: the webhook is not kept either."""
    file = idle_instance.settings.database_url.removeprefix("sqlite+aiosqlite:///")
    with sqlite3.connect(file) as database:
        database.execute("ALTER TABLE audit_log RENAME TO elsewhere")
    database.close()
    answer = await idle_instance.http.post("/v1/webhooks", json={"url": "https://acme.example"})
    assert answer.status_code == 500
    assert (await idle_instance.http.get("/v1/webhooks")).json()["items"] == []


async def test_a_command_takes_effect_while_the_registry_is_down(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator must be able to stop deliveries while the registry is down; the log line says who did."""
    await instance.webhook("https://acme.example")
    event_id = (await instance.send(deliver_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat()))["id"]

    def refuse() -> None:
        raise RegistryUnavailable("gone")

    monkeypatch.setattr(instance.store.audit._database, "write", refuse)
    with capture_logs() as lines:
        assert (await instance.command(event_id, "cancel")).status_code == 202
    assert [line["event"] for line in lines][-2:] == ["event.cancel", "audit entry not written"]
    assert lines[-2]["object"] == event_id
