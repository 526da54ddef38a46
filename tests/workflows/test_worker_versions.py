"""Versions of workers: one is always current, open runs move to it, and a change back is possible at any time."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from claimed_runs import share
from cli.operators.maintenance import sentence
from cloud import cloud
from hookkeeper.temporal.workers import versions as worker_versions
from hookkeeper.temporal.workers.versions import UNVERSIONED, VersionNotReady
from hookkeeper.version import VERSION
from instances import Instance, running_instance
from receivers import Answer, Receiver
from shared_runs import event_to
from temporal_processes import configured_server, connected
from timeouts import WAIT_TIMEOUT
from worker_processes import worker_process

LONG = 3600
"""Seconds until a retry: only a command makes the run continue."""
QUIET = 2.0
"""Seconds in which a worker that is not current would have delivered."""


def with_version(instance: Instance, version: str) -> Instance:
    """Return the same instance whose workers have this version."""
    return replace(instance, settings=instance.settings.model_copy(update={"deployment_version": version}))


async def current(instance: Instance) -> str:
    return await worker_versions.current_version(instance.temporal, instance.settings.task_queue)


async def promote(instance: Instance, version: str, timeout: float = WAIT_TIMEOUT) -> str | None:
    return await worker_versions.promote(instance.temporal, instance.settings.task_queue, version, timeout)


async def waiting_event(instance: Instance, inbox: Receiver) -> str:
    """Let an event fail once; its retry is due in an hour."""
    inbox.fails(503)
    await instance.webhook(inbox.url, retry={"schedule": [LONG]})
    event_id: str = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying", 1)
    return event_id


async def retry(instance: Instance, event_id: str) -> None:
    """Ask for an attempt, without waiting for a worker."""
    await instance.run(event_id).signal("retry")


async def test_the_first_version_of_an_installation_is_current(idle_instance: Instance, inbox: Receiver) -> None:
    await idle_instance.webhook(inbox.url)
    async with with_version(idle_instance, "1.0").working():
        event_id = (await idle_instance.send())["id"]
        assert (await idle_instance.until_final(event_id))["status"] == "succeeded"
    assert await current(idle_instance) == "1.0"


async def test_the_worker_controller_names_the_worker_deployment(
    idle_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks for the versions that it has started under a name of its own, with a slash."""
    name = f"hooks/{idle_instance.settings.task_queue}"
    monkeypatch.setenv("TEMPORAL_DEPLOYMENT_NAME", name)
    await idle_instance.webhook(inbox.url)
    async with with_version(idle_instance, "1.0").working():
        event_id = (await idle_instance.send())["id"]
        assert (await idle_instance.until_final(event_id))["status"] == "succeeded"
        assert await promote(idle_instance, "1.0") == "1.0"
    request = DescribeWorkerDeploymentRequest(namespace=idle_instance.temporal.namespace, deployment_name=name)
    described = await idle_instance.temporal.workflow_service.describe_worker_deployment(request)
    assert described.worker_deployment_info.routing_config.current_deployment_version.build_id == "1.0"


async def test_a_new_version_gets_tasks_when_it_is_promoted(idle_instance: Instance, inbox: Receiver) -> None:
    """Setup: version 1.0 is current, and a run waits for its retry. Timeline: version 2.0 starts, the workers of 1.0
    stop, the retry is demanded, 2.0 is promoted. Proves: 2.0 does nothing before, and continues the open run.
    """
    async with with_version(idle_instance, "1.0").working():
        event_id = await waiting_event(idle_instance, inbox)
    async with with_version(idle_instance, "2.0").working():
        await retry(idle_instance, event_id)
        await asyncio.sleep(QUIET)
        assert len(inbox.requests) == 1
        assert await promote(idle_instance, "2.0") == "1.0"
        event = await idle_instance.until_final(event_id)
    assert [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]] == [503, 200]
    assert await current(idle_instance) == "2.0"


async def test_a_rollback_continues_runs_of_the_newer_version(idle_instance: Instance, inbox: Receiver) -> None:
    async with with_version(idle_instance, "1.0").working(), with_version(idle_instance, "2.0").working():
        await promote(idle_instance, "2.0")
        event_id = await waiting_event(idle_instance, inbox)
    async with with_version(idle_instance, "1.0").working():
        await promote(idle_instance, "1.0")
        await retry(idle_instance, event_id)
        assert (await idle_instance.until_final(event_id))["status"] == "succeeded"


async def test_runs_move_from_workers_without_version_and_back(idle_instance: Instance, inbox: Receiver) -> None:
    async with idle_instance.working():
        first = await waiting_event(idle_instance, inbox)
    async with with_version(idle_instance, "1.0").working():
        await retry(idle_instance, first)
        assert (await idle_instance.until_final(first))["status"] == "succeeded"
        inbox.fails(503)
        second = (await idle_instance.send())["id"]
        await idle_instance.until_delivery(second, "retrying", 1)
    async with idle_instance.working():
        assert await promote(idle_instance, UNVERSIONED) == "1.0"
        await retry(idle_instance, second)
        assert (await idle_instance.until_final(second))["status"] == "succeeded"
    assert await current(idle_instance) == UNVERSIONED


async def test_a_worker_without_version_names_the_release(idle_instance: Instance, inbox: Receiver) -> None:
    """Otherwise the SDK would name it by a hash of all code that it has imported."""
    await idle_instance.webhook(inbox.url)
    async with idle_instance.working():
        event_id = (await idle_instance.send())["id"]
        await idle_instance.until_final(event_id)
    history = await idle_instance.run(event_id).fetch_history()
    completed = [event.workflow_task_completed_event_attributes for event in history.events]
    assert {task.worker_version.build_id for task in completed if task.started_event_id} == {VERSION}


async def test_a_version_without_workers_is_not_promoted(idle_instance: Instance) -> None:
    async with with_version(idle_instance, "1.0").working():
        with pytest.raises(
            VersionNotReady,
            match=r"version 1\.0 still get all tasks: no workers of version 2\.0 serve .*-bulk, .*-retries: start them",
        ):
            await promote(idle_instance, "2.0", timeout=1)
        assert await current(idle_instance) == "1.0"


@pytest.mark.parametrize(
    ("message", "status"),
    [("operation was canceled", RPCStatusCode.CANCELLED), ("transport error", RPCStatusCode.UNKNOWN)],
)
async def test_a_call_that_the_server_drops_is_repeated(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch, message: str, status: RPCStatusCode
) -> None:
    describe, calls = worker_versions.current_version, 0

    async def dropped_once(client: Client, task_queue: str) -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RPCError(message, status, b"")
        return await describe(client, task_queue)

    async with with_version(idle_instance, "1.0").working(), with_version(idle_instance, "2.0").working():
        monkeypatch.setattr(worker_versions, "current_version", dropped_once)
        assert await promote(idle_instance, "2.0") == "1.0"
    assert calls >= 2
    assert await describe(idle_instance.temporal, idle_instance.settings.task_queue) == "2.0"


async def test_a_busy_server_is_asked_again(idle_instance: Instance) -> None:
    """While new workers register, a server that stores in PostgreSQL answers that there are too many requests."""
    queue, ask = idle_instance.settings.task_queue, "DescribeWorkerDeployment"
    async with (
        with_version(idle_instance, "1.0").working(),
        with_version(idle_instance, "2.0").working(),
        cloud(idle_instance.temporal) as (address, frontend),
    ):
        client = await Client.connect(address, namespace=idle_instance.temporal.namespace)
        frontend.busy = [ask] * 100
        with pytest.raises(VersionNotReady, match=r"it is unknown whether workers of version 2\.0 get all tasks"):
            await worker_versions.promote(client, queue, "2.0", timeout=1)
        frontend.busy = [ask]
        assert await worker_versions.promote(client, queue, "2.0", WAIT_TIMEOUT) == "1.0"
    assert await current(idle_instance) == "2.0"


async def test_a_change_whose_answer_is_lost_is_recognized(idle_instance: Instance) -> None:
    queue = idle_instance.settings.task_queue
    async with (
        with_version(idle_instance, "1.0").working(),
        with_version(idle_instance, "2.0").working(),
        cloud(idle_instance.temporal) as (address, frontend),
    ):
        frontend.silent = {"SetWorkerDeploymentCurrentVersion"}
        client = await Client.connect(address, namespace=idle_instance.temporal.namespace)
        before: str | None = None
        async with asyncio.timeout(WAIT_TIMEOUT):
            while before is None:
                try:
                    before = await worker_versions.promote(client, queue, "2.0", timeout=3)
                except VersionNotReady:  # the server limits changes of a deployment
                    assert await current(idle_instance) == "1.0"
    assert before == "1.0"
    assert await current(idle_instance) == "2.0"


async def test_a_change_that_the_server_has_confirmed_is_not_asked_for_again(idle_instance: Instance) -> None:
    """A server that stores in PostgreSQL refuses to describe the deployment while it hands the change on."""
    async with (
        with_version(idle_instance, "1.0").working(),
        with_version(idle_instance, "2.0").working(),
        cloud(idle_instance.temporal) as (address, frontend),
    ):
        frontend.after = {"SetWorkerDeploymentCurrentVersion": "DescribeWorkerDeployment"}
        client = await Client.connect(address, namespace=idle_instance.temporal.namespace)
        queue = idle_instance.settings.task_queue
        assert await worker_versions.promote(client, queue, "2.0", WAIT_TIMEOUT) == "1.0"
    assert await current(idle_instance) == "2.0"


async def test_a_worker_that_meets_a_busy_server_at_its_start_waits_for_it(idle_instance: Instance) -> None:
    async with cloud(idle_instance.temporal) as (address, frontend):
        frontend.busy = ["DescribeWorkerDeployment"] * 2
        client = await Client.connect(
            address, namespace=idle_instance.temporal.namespace, data_converter=idle_instance.temporal.data_converter
        )
        async with with_version(replace(idle_instance, temporal=client), "1.0").working():
            assert not frontend.busy
            assert await current(idle_instance) == "1.0"


async def test_a_refusal_of_a_change_that_is_made_is_no_failure(idle_instance: Instance) -> None:
    queue = idle_instance.settings.task_queue
    async with (
        with_version(idle_instance, "1.0").working(),
        with_version(idle_instance, "2.0").working(),
        cloud(idle_instance.temporal) as (address, frontend),
    ):
        frontend.denied = {"SetWorkerDeploymentCurrentVersion"}
        client = await Client.connect(address, namespace=idle_instance.temporal.namespace)
        assert await worker_versions.promote(client, queue, "2.0", WAIT_TIMEOUT) == "1.0"
    assert await current(idle_instance) == "2.0"


async def test_a_shared_run_continues_on_the_new_version_when_its_workers_are_gone(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """As with `docker compose up`, which replaces the workers and promotes the new ones then (decision 29).

    Timeline: version 1.0 makes the first attempts and is killed, version 2.0 starts and is promoted. Proves: the
    shared run goes on, and an event that fails continues in a run of its own.
    """
    old, new = with_version(idle_instance, "1.0"), with_version(idle_instance, "2.0")
    webhook = await idle_instance.webhook(inbox.url, retry={"schedule": [0.1]})
    inbox.answers = [Answer(gate=asyncio.Event())] * 2 + [Answer(503)]
    async with worker_process(old) as killed:
        run = await share(old, [event_to(webhook, id=f"e{n}", tenant=old.tenant) for n in range(2)])
        await inbox.got(2)
        killed.kill()
    async with new.working():
        assert await promote(new, "2.0") == "1.0"
        assert len((await run.result()).continued) == 1
        events = [await new.until_final(f"e{n}") for n in range(2)]
    assert [event["status"] for event in events] == ["succeeded"] * 2
    assert sorted(len(event["deliveries"][0]["attempts"]) for event in events) == [1, 2]


@pytest.mark.parametrize(
    ("version", "before", "said"),
    [
        (
            "2.0",
            "1.0",
            "Workers of version 2.0 get all tasks now. Open runs continue there, so workers of version 1.0 can",
        ),
        ("2.0", "2.0", "Workers of version 2.0 get all tasks, as before."),
        ("2.0", UNVERSIONED, "so workers without a version can be stopped."),
        (UNVERSIONED, "1.0", "HOOKKEEPER_DEPLOYMENT_VERSION is not set: workers without a version get all tasks now."),
        (
            UNVERSIONED,
            UNVERSIONED,
            "DEPLOYMENT_VERSION is not set: workers without a version get all tasks, as before.",
        ),
        ("2.0", None, "This Temporal server has no worker versions: all workers get tasks."),
    ],
)
def test_promote_says_which_workers_get_tasks_and_which_can_be_stopped(
    version: str, before: str | None, said: str
) -> None:
    assert said in sentence(version, before)


async def test_a_killed_worker_of_the_current_version_is_replaced(idle_instance: Instance, inbox: Receiver) -> None:
    instance = with_version(idle_instance, "1.0")
    async with worker_process(instance) as killed:
        event_id = await waiting_event(instance, inbox)
        killed.kill()
    async with worker_process(instance):
        await retry(instance, event_id)
        assert (await instance.until_final(event_id))["status"] == "succeeded"


async def test_a_server_without_versions_gets_workers_without(tmp_path: Path, inbox: Receiver) -> None:
    async with (
        configured_server(tmp_path, "system.enableDeploymentVersions=false") as address,
        running_instance(await connected(address), tmp_path) as instance,
    ):
        await instance.webhook(inbox.url)
        async with with_version(instance, "1.0").working():
            event_id = (await instance.send())["id"]
            assert (await instance.until_final(event_id))["status"] == "succeeded"
        assert await promote(instance, "1.0") is None
