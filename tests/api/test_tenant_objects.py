"""Tenants as objects: described, limited, suspended."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from callers import calling, make_key
from problems import problem
from temporalio.client import Client

from claimed_runs import share
from hookkeeper.crypto.signing_keys import Scheme, new_secret
from hookkeeper.ids import recovery_workflow_id
from hookkeeper.messages.bulk_work import ERASE, RecoveryScope
from instances import Instance, another_process
from receivers import Receiver
from shared_runs import event_to
from timeouts import WAIT_TIMEOUT

URL = "https://acme.example/hook"
SLACK = {"notifications": [{"service": "slack://T00000000/B00000000/secrettokensecrettoken00"}]}


async def _change(instance: Instance, **changes: Any) -> dict[str, Any]:
    answer = await instance.http.patch(f"/v1/tenants/{instance.tenant}", json=changes)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


@pytest.mark.parametrize("thing", ["event", "webhook", "key"])
async def test_a_tenant_is_there_once_something_names_it(instance: Instance, thing: str) -> None:
    path = f"/v1/tenants/{instance.tenant}"
    problem(await instance.http.get(path), 404)
    if thing == "event":
        await instance.send()
    elif thing == "webhook":
        await instance.webhook(URL)
    else:
        await make_key(instance, instance.tenant)
    shown = (await instance.http.get(path)).json()
    counts = int(thing == "webhook"), int(thing == "event")
    assert (shown["id"], shown["webhooks"], shown["events"]) == (instance.tenant, *counts)
    problem(await instance.http.post("/v1/tenants", json={"id": instance.tenant}), 409)


async def test_a_tenant_keeps_what_it_is_given_and_its_secrets_are_masked(instance: Instance) -> None:
    given = {
        "id": instance.tenant,
        "name": "Acme Ltd",
        "metadata": {"plan": "pro"},
        "rate_limit": "5/second",
        "retry": {"schedule": [5]},
        "on_failure": SLACK,
    }
    made = await instance.http.post("/v1/tenants", json=given)
    assert made.status_code == 201
    assert "secrettoken" not in made.text
    shown = made.json()
    assert {name: shown[name] for name in ("name", "metadata", "rate_limit")} == {
        name: given[name] for name in ("name", "metadata", "rate_limit")
    }
    assert (await _change(instance, on_failure=shown["on_failure"]))["on_failure"] == shown["on_failure"]
    stored = await instance.store.tenants.get(instance.tenant)
    assert stored
    assert stored.on_failure
    assert stored.on_failure.notifications[0].service == SLACK["notifications"][0]["service"]
    for query, is_found in (("acme", True), ("metadata.plan:pro", True), ("metadata.plan:free", False)):
        found = (await instance.http.get("/v1/tenants", params={"q": query})).json()["items"]
        assert (instance.tenant in [tenant["id"] for tenant in found]) is is_found


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_webhooks_get_the_defaults_of_their_tenant_for_what_they_leave_out(instance: Instance) -> None:
    await instance.http.post("/v1/tenants", json={"id": instance.tenant})
    await _change(instance, retry={"schedule": [5]}, on_failure=SLACK, signature_scheme="v1a")
    first = await instance.webhook(URL)
    assert (first["retry"]["schedule"], first["signature_scheme"]) == ([5], "v1a")
    assert len(first["on_failure"]["notifications"]) == 1
    second = await instance.webhook(URL, retry=None, on_failure=None, signature_scheme="v1")
    assert (second["retry"], second["on_failure"], second["signature_scheme"]) == (None, None, "v1")


@pytest.mark.parametrize("default", ["v1", "v1a"])
async def test_the_default_scheme_of_a_tenant_allows_keys_of_the_other(instance: Instance, default: Scheme) -> None:
    await instance.http.post("/v1/tenants", json={"id": instance.tenant, "signature_scheme": default})
    schemes: tuple[Scheme, ...] = ("v1", "v1a")
    for scheme in schemes:
        assert (await instance.webhook(URL, secret=new_secret(scheme)))["signature_scheme"] == scheme


async def test_events_beyond_the_rate_of_the_tenant_are_refused_for_all_of_its_keys(instance: Instance) -> None:
    keys = [await make_key(instance, instance.tenant) for _ in range(2)]
    await _change(instance, rate_limit="2/day")
    for number, key in enumerate((*keys, keys[0])):
        async with calling(instance.app, key["key"]) as http:
            answer = await http.post("/v1/events", json={"type": "order.paid"})
            assert answer.status_code == (202 if number < 2 else 429), answer.text
    assert problem(answer, 429)["detail"] == "The tenant may send 2 events a day."
    assert int(answer.headers["retry-after"]) > 0
    assert (await instance.http.post("/v1/events", json={"type": "order.paid"})).status_code == 202


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_a_suspended_tenant_accepts_no_events_and_holds_its_deliveries(
    instance: Instance, inbox: Receiver
) -> None:
    """Timeline: an event waits for a retry, another webhook is paused; the tenant is suspended; later it is not."""
    hook = await instance.webhook(inbox.url)
    paused = await instance.webhook(inbox.url)
    await instance.http.post(f"/v1/webhooks/{paused['id']}/pause")
    event = {"type": "order.paid", "tenant": instance.tenant, "id": "before"}
    assert (await instance.http.post("/v1/events", json=event)).status_code == 202
    await _change(instance, suspended=True, reason="The contract has ended.")

    refused = problem(await instance.http.post("/v1/events", json=event | {"id": "after"}), 403)
    assert refused["detail"].endswith("is suspended, and accepts no new events: The contract has ended.")
    assert (await instance.http.post("/v1/events", json=event)).json()["duplicate"]
    problem(await instance.http.post(f"/v1/webhooks/{hook['id']}/test"), 403)
    problem(await instance.http.post(f"/v1/webhooks/{hook['id']}/resume"), 409)
    assert (await instance.http.get(f"/v1/webhooks/{hook['id']}")).json()["health"]["status"] == "paused"
    assert (await instance.webhook(URL))["paused_at"] is not None

    await _change(instance, suspended=False)
    states = {
        each["id"]: each["paused_at"]
        for each in (await instance.http.get("/v1/webhooks", params={"tenant": instance.tenant})).json()["items"]
    }
    assert [id_ for id_, paused_at in states.items() if paused_at] == [paused["id"]]
    assert (await instance.http.post("/v1/events", json=event | {"id": "after"})).status_code == 202


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_deliveries_that_a_suspension_held_are_sent_when_it_ends(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    event = await instance.send(deliver_at=soon)
    await _change(instance, suspended=True)
    await instance.until_delivery(event["id"], "held")
    assert inbox.requests == []
    await _change(instance, suspended=False)
    await instance.until_delivery(event["id"], "succeeded")
    assert len(inbox.requests) == 1


async def test_a_key_of_a_tenant_sees_its_own_tenant_and_changes_none(instance: Instance) -> None:
    key = await make_key(instance, instance.tenant)
    async with calling(instance.app, key["key"]) as http:
        assert [each["id"] for each in (await http.get("/v1/tenants")).json()["items"]] == [instance.tenant]
        assert (await http.get(f"/v1/tenants/{instance.tenant}")).json()["id"] == instance.tenant
        problem(await http.get("/v1/tenants/default"), 404)
        problem(await http.patch(f"/v1/tenants/{instance.tenant}", json={"rate_limit": None}), 403)


@pytest.mark.promise("docs/keys-and-tenants.md")
async def test_a_deleted_tenant_leaves_nothing_but_its_audit_entries(instance: Instance, inbox: Receiver) -> None:
    """Setup: an event that was delivered, three that share a run with one of another tenant, one that waits for a day,
    a schedule, a suppression and a key.
    Timeline: the tenant is deleted; the job is watched until it has ended.
    Proves: the job counts its events; nothing is found, the key is refused. The other tenant's event stays.
    """
    http, named = instance.http, {"tenant": instance.tenant}
    key = await make_key(instance, instance.tenant)
    webhook = await instance.webhook(inbox.url)
    done = await instance.send()
    await instance.until_closed(done["id"])
    other = {"tenant": f"{instance.tenant}-b"}
    of_other = event_to(await instance.webhook(inbox.url, **other), id="other", **other)
    shared = ["one", "two", "three"]
    run = await share(instance, [*(event_to(webhook, id=id_, **named) for id_ in shared), of_other])
    await run.result()
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    later = await instance.send(deliver_at=tomorrow)
    await http.post("/v1/suppressions", json=named | {"address": "ann@acme.example"})
    schedule = {"event": {"type": "order.paid"}, "every": 86400 * 300, "offset": 86400 * 299}
    assert (await http.post("/v1/schedules", json=named | schedule)).status_code == 201

    started = (await http.delete(f"/v1/tenants/{instance.tenant}")).json()
    assert started["action"] == "erase"
    async with calling(instance.app, key["key"]) as theirs, asyncio.timeout(WAIT_TIMEOUT):
        while (await theirs.get("/v1/events")).status_code != 401:
            await asyncio.sleep(0.1)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (job := (await http.get(f"/v1/recoveries/{started['id']}")).json())["status"] != "finished":
            await asyncio.sleep(0.1)
    assert (job["found"], job["done"], job["failed"]) == (5, 5, 0)
    problem(await http.get(f"/v1/tenants/{instance.tenant}"), 404)
    for path in ("webhooks", "events", "schedules", "suppressions", "keys"):
        assert (await http.get(f"/v1/{path}", params=named)).json()["items"] == [], path
    async with asyncio.timeout(WAIT_TIMEOUT):  # the server deletes in the background
        for event in (done["id"], later["id"], *shared):
            while (await http.get(f"/v1/events/{event}", params=named)).status_code != 404:
                await asyncio.sleep(0.1)
    assert (await http.get(f"/v1/events/{of_other.id}", params=other)).json()["status"] == "succeeded"
    entries = (await http.get("/v1/audit", params=named)).json()["items"]
    assert (entries[0]["action"], entries[0]["detail"]) == ("tenant.delete", {"job": started["id"]})


async def _delete(instance: Instance) -> None:
    """Delete the tenant, and wait until that is done."""
    job = (await instance.http.delete(f"/v1/tenants/{instance.tenant}")).json()["id"]
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.http.get(f"/v1/recoveries/{job}")).json()["status"] != "finished":
            await asyncio.sleep(0.1)


async def test_a_deleted_tenant_is_added_again_on_purpose_only(instance: Instance) -> None:
    http, named, path = instance.http, {"tenant": instance.tenant}, f"/v1/tenants/{instance.tenant}"
    event = named | {"type": "order.paid"}
    await instance.send(id="before")
    await _delete(instance)
    schedule = named | {"event": {"type": "order.paid"}, "every": 86400}
    message = {"eventType": "order.paid", "payload": {}, "application": {"name": "Acme", "uid": instance.tenant}}
    for url, body in (
        ("/v1/events", event),
        ("/v1/events", event | {"id": "before"}),
        ("/v1/webhooks", named | {"url": URL}),
        ("/v1/keys", named | {"name": "late"}),
        ("/v1/schedules", schedule),
        (f"/api/v1/app/{instance.tenant}/msg", message),
    ):
        answer = await http.post(url, json=body)
        assert (answer.status_code, f"PUT {path} adds it again" in answer.text) == (410, True), (url, answer.text)
    (item,) = (await http.post("/v1/events/batch", json={"events": [event]})).json()["items"]
    assert (item["status"], item["problem"]["type"]) == (410, "urn:hookkeeper:problem:gone")
    for answer in (await http.get(path), await http.patch(path, json={}), await http.delete(path)):
        problem(answer, 404)
    assert instance.tenant not in [each["id"] for each in (await http.get("/v1/tenants")).json()["items"]]

    for status, name in ((201, "Acme"), (200, "Acme Ltd")):
        answer = await http.put(path, json={"name": name})
        assert (answer.status_code, answer.json()["name"], answer.json()["suspended"]) == (status, name, False)
    assert (await http.post("/v1/events", json=event)).status_code == 202
    entries = (await http.get("/v1/audit", params=named)).json()["items"]
    assert [each["action"] for each in entries[:3]] == ["tenant.update", "tenant.create", "tenant.delete"]


async def test_a_deleted_tenant_can_be_described_again(instance: Instance) -> None:
    await instance.send()
    await _delete(instance)
    assert (await instance.http.post("/v1/tenants", json={"id": instance.tenant})).status_code == 201
    problem(await instance.http.post("/v1/tenants", json={"id": instance.tenant}), 409)


async def test_a_deletion_that_cannot_begin_changes_nothing(idle_instance: Instance) -> None:
    """Setup: an API whose connection leads to a namespace that Temporal does not have."""
    instance = idle_instance
    key = await make_key(instance, instance.tenant)
    config = instance.temporal.config()
    config["namespace"] = "nowhere"
    async with another_process(instance, temporal=Client(**config)) as cut:
        problem(await cut.http.delete(f"/v1/tenants/{instance.tenant}"), 503)
    assert not (await instance.http.get(f"/v1/tenants/{instance.tenant}")).json()["suspended"]
    async with calling(instance.app, key["key"]) as http:
        assert (await http.post("/v1/events", json={"type": "order.paid"})).status_code == 202


async def test_a_deletion_is_paused_and_resumed(idle_instance: Instance) -> None:
    instance = idle_instance
    await instance.send()
    job = (await instance.http.delete(f"/v1/tenants/{instance.tenant}")).json()["id"]
    for command in ("pause", "resume"):
        assert (await instance.http.post(f"/v1/recoveries/{job}/{command}")).status_code == 202, command
    async with instance.working():
        run = instance.temporal.get_workflow_handle(str(recovery_workflow_id(job)))
        assert (await run.result())["status"] == "finished"


async def test_the_job_closes_a_tenant_although_the_api_died_after_its_start(instance: Instance) -> None:
    await make_key(instance, instance.tenant)
    await instance.send(deliver_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    now = datetime.now(UTC)
    scope = RecoveryScope(tenant=instance.tenant, action=ERASE, search={}, since=None, until=now, began=now)
    job = await instance.gateway.recoveries.start(scope, 100.0)
    run = instance.temporal.get_workflow_handle(str(recovery_workflow_id(job.id)))
    await run.result()
    scheduled = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        async for event in run.fetch_history_events()
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert scheduled[0] == "close_tenant"
    problem(await instance.http.post("/v1/events", json={"type": "order.paid", "tenant": instance.tenant}), 410)


# Commands to a suspended tenant


async def test_a_suspended_tenant_sends_nothing_again(instance: Instance, inbox: Receiver) -> None:
    """Setup: an event that was delivered, and two that wait.
    Proves: every way to have them delivered is refused as an event is, and nothing arrives; what stops them is not.
    """
    http, named = instance.http, {"tenant": instance.tenant}
    hook = await instance.webhook(inbox.url, uid="shop")
    await instance.send(id="done")
    await instance.until_closed("done")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for event_id in ("later", "held"):
        await instance.send(id=event_id, deliver_at=tomorrow)
    await _change(instance, suspended=True, reason="Spam.")
    key = await make_key(instance, instance.tenant)

    since = {"since": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    refusals = [
        await instance.command("done", "retry"),
        await instance.command("done", "redeliver"),
        await instance.command("later", "release"),
        await http.post("/v1/events/later/reschedule", params=named, json={"deliver_at": tomorrow}),
        await http.post(f"/v1/webhooks/{hook['id']}/recover", json=since),
        await http.post("/v1/recoveries", json=named | since),
        await http.post("/v1/bulk", params=named | {"last": "1h"}, json={"action": "retry"}),
        await http.post("/v1/bulk", params=named | {"last": "1h"}, json={"action": "redeliver"}),
    ]
    async with calling(instance.app, key["key"]) as theirs:
        refusals.append(await theirs.post("/v1/events/done/redeliver"))
    for answer in refusals:
        assert problem(answer, 403)["detail"].endswith("is suspended, and sends no event again: Spam."), answer.url
    svix = f"/api/v1/app/{instance.tenant}"
    for path, body in (("msg/done/endpoint/shop/resend", None), ("endpoint/shop/recover", since)):
        assert (await http.post(f"{svix}/{path}", json=body)).status_code == 403, path

    assert (await instance.command("held", "hold")).status_code == 202
    assert (await instance.command("later", "cancel")).status_code == 202
    bulk = {"action": "cancel", "dry_run": True}
    assert (await http.post("/v1/bulk", params=named | {"last": "1h"}, json=bulk)).status_code == 200
    await instance.until_cancelled("later")
    assert len(inbox.requests) == 1
