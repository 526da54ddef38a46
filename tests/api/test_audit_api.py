"""The audit log: who changed what, by the names of fields and never their values."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from callers import calling, make_key
from problems import problem
from structlog.testing import capture_logs

from hookkeeper.registry.database import RegistryUnavailable
from house import House

SECRETS = ("hush-hush", "whsec_", "secret.example", "ann@", "amount")


async def log_of(home: House, **query: Any) -> list[dict[str, Any]]:
    """Give all entries, oldest first."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        params = {"limit": 3, **query} | ({"cursor": cursor} if cursor else {})
        answer = await home.http.get("/v1/audit", params=params)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        if (cursor := answer.json()["next_cursor"]) is None:
            return items[::-1]


def shown(entries: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    return [(entry["action"], entry["object_id"], entry["detail"].get("fields")) for entry in entries]


async def test_each_change_has_an_entry_that_names_fields(idle_house: House) -> None:
    http, tenant = idle_house.http, idle_house.tenant
    made = await idle_house.webhook(
        "https://secret.example/hush-hush", headers={"x-key": "hush-hush"}, filter="event.data.amount > 1"
    )
    path = f"/v1/webhooks/{made['id']}"
    await http.patch(path, json={"name": "hush-hush", "metadata": {"a": "hush-hush"}})
    await http.post(f"{path}/rotate-secret", json={"grace": 60})
    await http.delete(path)
    await http.post("/v1/event-types", json={"name": "a.b", "schema": {}})
    await http.patch("/v1/event-types/a.b", json={"schema": None, "description": "hush-hush"})
    await http.delete("/v1/event-types/a.b")
    await http.post("/v1/suppressions", json={"tenant": tenant, "address": "bob@acme.example", "detail": "hush-hush"})
    await http.delete("/v1/suppressions/bob@acme.example", params={"tenant": tenant})
    key = await make_key(idle_house, tenant)
    await http.delete(f"/v1/keys/{key['id']}")

    entries = await log_of(idle_house)
    assert shown(entries) == [
        ("webhook.create", made["id"], ["filter", "headers", "tenant", "url"]),
        ("webhook.update", made["id"], ["metadata", "name"]),
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


async def test_commands_to_events_are_there_before_they_are_answered(home: House) -> None:
    later = [(datetime.now(UTC) + timedelta(hours=hours)).isoformat() for hours in (1, 2)]
    webhook_id = (await home.webhook("https://acme.example"))["id"]
    event_id = (await home.send(deliver_at=later[0]))["id"]
    await home.http.post(
        f"/v1/events/{event_id}/reschedule", params={"tenant": home.tenant}, json={"deliver_at": later[1]}
    )
    for command, delivery in (("hold", webhook_id), ("cancel", None), ("retry", "wh_nowhere"), ("redeliver", None)):
        answer = await home.command(event_id, command, delivery)
        taken = [entry["action"] for entry in await log_of(home)]
        assert (f"event.{command}" in taken) is (answer.status_code == 202), answer.text
    entries = [entry for entry in await log_of(home, tenant=home.tenant) if entry["object_id"] == event_id]
    assert [(entry["action"], entry["detail"]) for entry in entries] == [
        ("event.reschedule", {"fields": ["deliver_at"]}),
        ("event.hold", {"delivery": webhook_id}),
        ("event.cancel", {}),
        ("event.redeliver", {}),
    ]


async def test_an_entry_names_the_key(idle_house: House) -> None:
    key = await make_key(idle_house, idle_house.tenant, name="backend")
    async with calling(idle_house.app, key["key"]) as http:
        made = (await http.post("/v1/webhooks", json={"url": "https://acme.example"})).json()
    entry = (await log_of(idle_house))[-1]
    assert (entry["key_id"], entry["key_name"], entry["object_id"]) == (key["id"], "backend", made["id"])
    assert entry["tenant"] == idle_house.tenant
    assert entry["id"].startswith("aud_")


async def test_what_was_not_done_has_no_entry(idle_house: House) -> None:
    http = idle_house.http
    await http.post("/v1/event-types", json={"name": "a.b"})
    await http.post("/v1/suppressions", json={"address": "ann@acme.example"})
    before = len(await log_of(idle_house))
    for method, path, body in (
        ("POST", "/v1/event-types", {"name": "a.b"}),  # is there already
        ("POST", "/v1/suppressions", {"address": "ann@acme.example"}),
        ("POST", "/v1/webhooks", {"url": "nonsense"}),
        ("PATCH", "/v1/webhooks/wh_nowhere", {"name": "x"}),
        ("DELETE", "/v1/webhooks/wh_nowhere", None),
        ("DELETE", "/v1/event-types/nowhere", None),
        ("DELETE", "/v1/keys/key_nowhere", None),
        ("POST", "/v1/events/nowhere/cancel", None),
    ):
        await http.request(method, path, json=body)
    assert len(await log_of(idle_house)) == before


async def test_the_log_can_be_searched(idle_house: House) -> None:
    begun = datetime.now(UTC)
    await idle_house.webhook("https://acme.example")
    between = (await log_of(idle_house))[-1]["at"]
    await make_key(idle_house, "bolt")
    assert [entry["action"] for entry in await log_of(idle_house, tenant="bolt")] == ["key.create"]
    assert [entry["action"] for entry in await log_of(idle_house, tenant=idle_house.tenant)] == ["webhook.create"]
    after = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    assert len(await log_of(idle_house, since=begun.isoformat(), until=after)) == 2
    assert await log_of(idle_house, since=after) == []
    assert await log_of(idle_house, until=begun.isoformat()) == []
    assert between
    problem(await idle_house.http.get("/v1/audit", params={"since": "yesterday"}), 422, "since")
    problem(await idle_house.http.get("/v1/audit", params={"cursor": "x"}), 400, "cursor")


async def test_each_entry_has_a_log_line(idle_house: House) -> None:
    with capture_logs() as lines:
        made = await idle_house.webhook("https://acme.example", headers={"x-key": "hush-hush"})
        await idle_house.http.post("/v1/suppressions", json={"address": "ann@acme.example"})
    webhook, suppression = lines
    (entry, _) = await log_of(idle_house)
    assert webhook == {
        "event": "webhook.create",
        "log_level": "info",
        "object": made["id"],
        "tenant": idle_house.tenant,
        "key": "admin",
        "key_name": "HOOKKEEPER_ADMIN_KEY",
        "entry": entry["id"],
        "fields": ["headers", "tenant", "url"],
    }
    assert suppression["event"] == "suppression.create"
    assert "ann@" not in str(suppression)


async def test_a_change_is_not_made_without_its_entry(idle_house: House) -> None:
    """The table of entries is gone: the webhook is not kept either."""
    file = idle_house.settings.database_url.removeprefix("sqlite+aiosqlite:///")
    with sqlite3.connect(file) as database:
        database.execute("ALTER TABLE audit_log RENAME TO elsewhere")
    database.close()
    answer = await idle_house.http.post("/v1/webhooks", json={"url": "https://acme.example"})
    assert answer.status_code == 500
    assert (await idle_house.http.get("/v1/webhooks")).json()["items"] == []


async def test_a_command_holds_although_the_registry_is_gone(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator must be able to stop deliveries while the registry is down; the log line says who did."""
    await home.webhook("https://acme.example")
    event_id = (await home.send(deliver_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat()))["id"]

    def refuse() -> None:
        raise RegistryUnavailable("gone")

    monkeypatch.setattr(home.store.audit._database, "write", refuse)
    with capture_logs() as lines:
        assert (await home.command(event_id, "cancel")).status_code == 202
    assert [line["event"] for line in lines][-2:] == ["event.cancel", "audit entry not written"]
    assert lines[-2]["object"] == event_id
