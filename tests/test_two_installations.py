"""Two installations in one namespace, with task queues and tenants of their own, do not mix."""

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr
from temporalio.client import Client

from claimed_runs import share, until_listed
from hookkeeper.crypto.keyring import new_key
from hookkeeper.findings import Finding
from hookkeeper.services.system.doctor import Doctor
from instances import Instance, running_instance
from receivers import Receiver, receiver
from shared_runs import event_to
from timeouts import WAIT_TIMEOUT, pauses


async def examined(instance: Instance) -> dict[str, Finding]:
    return {finding.check: finding for finding in await Doctor(instance.settings).examine()}


async def listed(instance: Instance) -> dict[str, list[str]]:
    """Return the ids of what Temporal lists, of all tenants."""
    answers = {kind: (await instance.http.get(f"/v1/{kind}")).json() for kind in ("recoveries", "schedules")}
    return {kind: [item["id"] for item in answer["items"]] for kind, answer in answers.items()}


async def test_two_installations_in_a_namespace_do_not_mix(
    temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: one encrypts, has a shared run, a run whose code is missing, a schedule and a recovery. Both deliver.
    Proves: each delivers its own events, and neither its reads nor its lists nor its doctor have runs of the other.
    """
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.service_client.config.target_host)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", temporal.namespace)
    keys = SecretStr(new_key("a"))
    async with (
        receiver() as other_inbox,
        running_instance(temporal, tmp_path / "one", encryption_keys=keys) as one,
        running_instance(temporal, tmp_path / "other") as other,
        one.working(),
        other.working(),
    ):
        for instance, url in ((one, inbox.url), (other, other_inbox.url)):
            await instance.webhook(url)
            event_id = (await instance.send(id="same-id"))["id"]
            assert (await instance.until_final(event_id))["status"] == "succeeded"
        assert (len(inbox.requests), len(other_inbox.requests)) == (1, 1)
        other_tenant = f"{one.tenant}b"
        hook = await one.webhook(inbox.url, tenant=other_tenant)
        events = [event_to(hook, id="in-a-shared-run", tenant=tenant) for tenant in (one.tenant, other_tenant)]
        await until_listed(await share(one, events))
        assert (await other.http.get("/v1/events/in-a-shared-run", params={"tenant": other.tenant})).status_code == 404
        daily = {"tenant": one.tenant, "event": {"type": "order.paid"}, "every": 86400}
        scope = {"tenant": one.tenant, "since": "2020-01-01T00:00:00Z"}
        made = {
            kind: [(await one.http.post(f"/v1/{kind}", json=body)).json()["id"]]
            for kind, body in (("recoveries", scope), ("schedules", daily))
        }
        await temporal.start_workflow("NewerWorkflow", id=one.tenant, task_queue=one.settings.task_queue)
        async with asyncio.timeout(WAIT_TIMEOUT):  # visibility lags behind
            async for _ in pauses():
                found = await examined(one)
                are_wrong = "wrong" == found["runs"].level == found["workflow types"].level
                if are_wrong and await listed(one) == made:
                    break
        assert one.settings.task_queue in found["runs"].remedy
        assert found["keys in histories"].text == "encrypted with a"
        found = await examined(other)
        for check in ("runs", "workflow types", "keys in histories"):
            assert found[check].level == "well", found[check]
        assert await listed(other) == {"recoveries": [], "schedules": []}
        await temporal.get_workflow_handle(one.tenant).terminate()
