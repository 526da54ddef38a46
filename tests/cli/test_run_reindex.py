"""`hookkeeper reindex` rebuilds the index of a running system."""

import asyncio
from pathlib import Path

import processes
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

from index_rows import derived, empty, indexed, until_indexed
from instances import Instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT


async def reindex(instance: Instance, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command; return its exit code and its output."""
    settings = {
        "HOOKKEEPER_DATABASE_URL": instance.settings.database_url,
        "HOOKKEEPER_TASK_QUEUE": instance.settings.task_queue,
        "TEMPORAL_ADDRESS": instance.temporal.service_client.config.target_host,
    }
    done = await processes.hookkeeper("reindex", *arguments, cwd=folder, settings=settings)
    return done.code, " ".join((done.out + done.err).split())


async def test_it_rebuilds_the_index(own_instance: Instance, inbox: Receiver, tmp_path: Path) -> None:
    await own_instance.webhook(inbox.url)
    event = await own_instance.send()
    await own_instance.until_closed(event["id"])
    await until_indexed(own_instance, event["id"])
    await empty(own_instance)
    output = ""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while "1 event was missing or incomplete" not in output:  # visibility lags behind
            code, output = await reindex(own_instance, tmp_path, "--since", "1h")
            assert code == 0, output
    assert "reindex" in output
    assert "1/1" in output
    assert await indexed(own_instance, event["id"]) == derived(await own_instance.event(event["id"]))
    assert await reindex(own_instance, tmp_path) == (0, output.replace("1 event was", "0 events were"))


async def test_an_open_event_whose_run_a_restored_temporal_lacks_is_started_again(
    own_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    inbox.fails(503)
    await own_instance.webhook(inbox.url, retry={"schedule": [3600]})
    event_id = (await own_instance.send())["id"]
    await own_instance.until_delivery(event_id, "retrying", attempts=1)
    await until_indexed(own_instance, event_id)
    execution = WorkflowExecution(workflow_id=own_instance.run(event_id).id)
    request = DeleteWorkflowExecutionRequest(namespace=own_instance.temporal.namespace, workflow_execution=execution)
    await own_instance.temporal.workflow_service.delete_workflow_execution(request)
    output = ""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while "1 open event had no run" not in output:  # the server deletes it later
            code, output = await reindex(own_instance, tmp_path)
            assert code == 0, output
    assert "All open events have runs." in (await reindex(own_instance, tmp_path))[1]
    assert (await own_instance.command(event_id, "retry")).status_code == 202
    assert (await own_instance.until_final(event_id))["status"] == "succeeded"
