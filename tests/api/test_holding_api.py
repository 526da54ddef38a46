"""Pauses, held deliveries and recoveries in the API."""

from typing import Any

import pytest
from callers import calling
from problems import problem
from temporalio.client import Client

from hookkeeper.temporal.gateway import Gateway
from instance_parts import new_app
from instances import KEY, Instance

URL = "http://127.0.0.1:65000/hook"
SINCE = "2026-01-02T03:04:05Z"


async def audit_of(instance: Instance, object_id: str) -> list[str]:
    items = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
    return [entry["action"] for entry in items if entry["object_id"] == object_id][::-1]


async def test_to_pause_twice_is_to_pause_once(instance: Instance) -> None:
    webhook = (await instance.webhook(URL))["id"]
    first, again = [(await instance.http.post(f"/v1/webhooks/{webhook}/pause")).json() for _ in range(2)]
    assert first["paused_at"] == again["paused_at"] is not None
    for _ in range(2):
        resumed = (await instance.http.post(f"/v1/webhooks/{webhook}/resume")).json()
        assert resumed["paused_at"] is None
    shown = (await instance.http.get(f"/v1/webhooks/{webhook}")).json()
    assert shown == resumed
    assert await audit_of(instance, webhook) == ["webhook.create", "webhook.pause", "webhook.resume"]


async def test_a_disabled_webhook_stays_off_when_it_is_resumed(instance: Instance) -> None:
    webhook = (await instance.webhook(URL, enabled=False))["id"]
    event = (await instance.send())["id"]
    await instance.until_delivery(event, "held")
    await instance.http.post(f"/v1/webhooks/{webhook}/pause")
    assert (await instance.http.post(f"/v1/webhooks/{webhook}/resume")).json()["enabled"] is False
    (delivery,) = (await instance.event(event))["deliveries"]
    assert (delivery["status"], delivery["attempts"]) == ("held", [])


async def test_a_release_that_cannot_be_started_is_told(instance: Instance) -> None:
    """Setup: a paused webhook; beside the API one whose namespace is not there, with the same registry.
    Timeline: the webhook is resumed there, and enabled; then here.
    Proves: 503, though the registry says that the webhook goes on; to repeat the request is all it takes.
    """
    webhook = (await instance.webhook(URL))["id"]
    await instance.http.post(f"/v1/webhooks/{webhook}/pause")
    event = (await instance.send())["id"]
    await instance.until_delivery(event, "held")
    temporal = instance.temporal
    away = Client(temporal.service_client, namespace="nowhere", data_converter=temporal.data_converter)
    app = new_app(instance.settings, instance.store, Gateway(away, instance.settings.task_queue, instance.store.rows))
    async with app.router.lifespan_context(app), calling(app, KEY) as http:
        problem(await http.post(f"/v1/webhooks/{webhook}/resume"), 503)
        problem(await http.patch(f"/v1/webhooks/{webhook}", json={"enabled": True}), 503)
    assert (await instance.http.get(f"/v1/webhooks/{webhook}")).json()["paused_at"] is None
    assert (await instance.http.post(f"/v1/webhooks/{webhook}/resume")).status_code == 200
    assert (await instance.until_delivery(event, "retrying", attempts=1))["status"] == "delivering"


async def test_what_is_held_is_counted(instance: Instance) -> None:
    webhook = (await instance.webhook(URL))["id"]
    answer = (await instance.http.get(f"/v1/webhooks/{webhook}/held")).json()
    assert (answer["webhook_id"], answer["held"]) == (webhook, 0)
    again = (await instance.http.get(f"/v1/webhooks/{webhook}/held")).json()
    assert again == answer
    problem(await instance.http.get("/v1/webhooks/wh_nowhere/held"), 404)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "since"),
        ({"since": "yesterday"}, "since"),
        ({"since": SINCE, "until": SINCE}, ""),
        ({"since": SINCE, "status": "succeeded"}, "status"),
        ({"since": SINCE, "rate": 0}, "rate"),
        ({"since": SINCE, "types": ["a type"]}, "types.0"),
    ],
)
async def test_what_cannot_be_recovered(instance: Instance, body: dict[str, Any], path: str) -> None:
    webhook = (await instance.webhook(URL))["id"]
    for url in (f"/v1/webhooks/{webhook}/recover", "/v1/recoveries"):
        wrong = problem(await instance.http.post(url, json=body), 422)
        assert path in wrong["errors"][0]["path"]


async def test_a_webhook_that_is_off_is_not_recovered(instance: Instance) -> None:
    webhook = (await instance.webhook(URL, enabled=False))["id"]
    refused = problem(await instance.http.post(f"/v1/webhooks/{webhook}/recover", json={"since": SINCE}), 409)
    assert "disabled" in refused["detail"]
    counted = await instance.http.post(f"/v1/webhooks/{webhook}/recover", json={"since": SINCE, "dry_run": True})
    assert counted.json()["found"] == 0


@pytest.mark.parametrize("name", ["rec_0_wh_nowhere", "rec_0_tenant_nobody", "rec", "nowhere"])
async def test_a_recovery_that_is_not_there(instance: Instance, name: str) -> None:
    problem(await instance.http.get(f"/v1/recoveries/{name}"), 404)
    problem(await instance.http.post(f"/v1/recoveries/{name}/cancel"), 404)


async def test_an_earlier_recovery_is_found_by_its_id(instance: Instance) -> None:
    webhook = (await instance.webhook(URL))["id"]
    jobs = []
    for _ in range(2):
        answer = await instance.http.post(f"/v1/webhooks/{webhook}/recover", json={"since": SINCE, "rate": 5})
        assert answer.status_code == 202
        run = instance.temporal.get_workflow_handle(f"recovery-{webhook}")
        await run.result()
        jobs.append(answer.json()["id"])
    for job in jobs:
        shown = (await instance.http.get(f"/v1/recoveries/{job}")).json()
        assert (shown["id"], shown["status"], shown["found"], shown["rate"]) == (job, "finished", 0, 5)
    assert await audit_of(instance, webhook) == ["webhook.create", "webhook.recover", "webhook.recover"]
