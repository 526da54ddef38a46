"""Each run has its tenant as fairness key: thousands of runs of one tenant delay the first step of another's little."""

import asyncio

import pytest
from temporalio.client import Client

from hookkeeper import ids, temporal_names
from hookkeeper.temporal.bulk.incidents import Incidents
from instances import Instance
from schedules import forgotten_at_last
from timeouts import WAIT_TIMEOUT


async def key_of(client: Client, workflow_id: str) -> str:
    run = await client.get_workflow_handle(workflow_id).describe()
    return run.raw_description.workflow_execution_info.priority.fairness_key


async def test_every_run_has_the_key_of_its_tenant(idle_instance: Instance) -> None:
    """No worker is there, so that all runs stay open."""
    tenant, client, http = idle_instance.tenant, idle_instance.temporal, idle_instance.http
    webhook = (await idle_instance.webhook("http://127.0.0.1:9000/"))["id"]
    event = (await idle_instance.send())["id"]
    assert (await http.post(f"/v1/webhooks/{webhook}/resume")).status_code == 200
    recovery = await http.post(f"/v1/webhooks/{webhook}/recover", json={"since": "2026-01-01T00:00:00Z"})
    await Incidents(client, idle_instance.settings.task_queue).look(tenant, webhook)
    workflows = [
        ids.workflow_id(tenant, event),
        ids.release_id(webhook),
        str(ids.recovery_workflow_id(recovery.json()["id"])),
        ids.incident_id(webhook),
    ]
    assert [await key_of(client, workflow) for workflow in workflows] == [tenant] * len(workflows)
    for workflow in workflows:
        await client.get_workflow_handle(workflow).terminate()


@pytest.mark.parametrize("overlap", ["skip", "allow_all"])
async def test_runs_of_a_schedule_have_the_key_of_its_tenant(idle_instance: Instance, overlap: str) -> None:
    tenant, client, http = idle_instance.tenant, idle_instance.temporal, idle_instance.http
    async with forgotten_at_last(client):
        schedule = {"tenant": tenant, "id": "a", "every": 86400, "overlap": overlap, "event": {"type": "report.due"}}
        assert (await http.post("/v1/schedules", json=schedule)).status_code == 201
        assert (await http.post("/v1/schedules/a/trigger", params={"tenant": tenant})).status_code == 202
        query = f"WorkflowType = '{temporal_names.SCHEDULED}' AND {temporal_names.TENANT} = '{tenant}'"
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not (runs := [run async for run in client.list_workflows(query)]):
                await asyncio.sleep(0.05)
        assert [await key_of(client, run.id) for run in runs] == [tenant]
        await client.get_workflow_handle(runs[0].id).terminate()
