"""The sweep adds to the index what processes that were killed have left out."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from claimed_runs import share, until_listed
from crowds import crowd
from hookkeeper import ids, temporal_names
from hookkeeper.messages.event import EventInput
from hookkeeper.messages.run_report import RunReport, first_report, progress_of, report_of
from hookkeeper.policy import RetryPolicy
from hookkeeper.registry.index.buffer import IndexBuffer
from hookkeeper.registry.index.leases import SweepPosition
from hookkeeper.registry.index.merge import CHECK_DELAY
from hookkeeper.temporal import index_checks, index_repair, index_sweep, shared_run_repair
from hookkeeper.temporal.index_catch_up import IndexCatchUp
from hookkeeper.temporal.index_checks import IndexChecks
from hookkeeper.temporal.index_reader import IndexReader
from hookkeeper.temporal.index_sweep import IndexSweep
from hookkeeper.temporal.run_snapshots import read_snapshot
from hookkeeper.temporal.run_state import find_run, input_of
from hookkeeper.temporal.shared_run_erasure import delete_run
from index_rows import derived, indexed, set_time_of_rows, until_indexed
from instances import Instance, running_instance
from receivers import Answer, Receiver
from shared_runs import event_to
from timeouts import WAIT_TIMEOUT

PATIENT, HASTY = RetryPolicy(schedule=(3600,)).model_dump(), RetryPolicy(schedule=()).model_dump()


class ForgetfulBuffer(IndexBuffer):
    """As in a process that is killed before it writes anything."""

    def put(self, report: RunReport) -> None:
        """Drop it."""


class PausingReader(IndexReader):
    """Its first write takes another second after it has written."""

    written: asyncio.Event

    async def write(self, items: Any, read: Any) -> None:
        """Write, and wait if nothing was written before."""
        await super().write(items, read)
        if not self.written.is_set():
            self.written.set()
            await asyncio.sleep(1.0)


@pytest.fixture(autouse=True)
def no_other_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers do not sweep, so that a test can."""
    monkeypatch.setattr(index_sweep, "FIRST_DELAY", 3600.0)


@pytest.fixture(params=["api and worker", "worker"])
async def forgetful(
    request: pytest.FixtureRequest, temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Instance]:
    """An instance whose reports are all lost, or those of its worker."""
    monkeypatch.setattr("worker.IndexBuffer", ForgetfulBuffer)
    if request.param != "worker":
        monkeypatch.setattr("api.state.IndexBuffer", ForgetfulBuffer)
    async with running_instance(temporal, tmp_path) as built, built.working():
        yield built


async def listed(instance: Instance) -> list[dict[str, Any]]:
    """Return the events of the tenant as the API lists them."""
    answer = await instance.http.get("/v1/events", params={"tenant": instance.tenant, "limit": 100})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]  # type: ignore[no-any-return]


def sweep_of(instance: Instance) -> IndexSweep:
    settings = instance.settings
    return IndexSweep(instance.temporal, instance.store.index, settings.task_queue, settings.retention)


async def until_swept(sweep: IndexSweep, instance: Instance, *event_ids: str) -> None:
    """Sweep until the index agrees with the API: visibility lags behind."""
    wanted = [derived(await instance.event(event_id)) for event_id in event_ids]
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while found != wanted:
                assert await sweep.sweep()
                found = [await indexed(instance, event_id) for event_id in event_ids]
    except TimeoutError:
        assert found == wanted


async def test_the_sweep_adds_closed_events(forgetful: Instance, inbox: Receiver) -> None:
    """Succeeded, failed, cancelled, terminated, redelivered."""
    await forgetful.webhook(inbox.url, retry=PATIENT, events=["order.*"])
    await forgetful.webhook(inbox.url, retry=HASTY, events=["user.*"])
    succeeded = await forgetful.send(data={"a": 1})
    await forgetful.until_closed(succeeded["id"])
    inbox.fails(*[503] * 4)
    failed = await forgetful.send("user.created")
    await forgetful.until_closed(failed["id"])
    cancelled, terminated = await forgetful.send(), await forgetful.send()
    for event in (cancelled, terminated):
        await forgetful.until_delivery(event["id"], "retrying", attempts=1)
    await forgetful.command(cancelled["id"], "cancel")
    await forgetful.until_closed(cancelled["id"])
    await forgetful.run(terminated["id"]).terminate()
    redelivered = await forgetful.send("user.created")
    await forgetful.until_closed(redelivered["id"])
    await forgetful.command(redelivered["id"], "redeliver")
    await forgetful.until(redelivered["id"], "succeeded")
    await forgetful.until_closed(redelivered["id"])
    events = (succeeded, failed, cancelled, terminated, redelivered)
    await until_swept(sweep_of(forgetful), forgetful, *(event["id"] for event in events))


@pytest.mark.parametrize("forgetful", ["api and worker"], indirect=True)
async def test_runs_that_other_tools_started_stop_no_sweep(forgetful: Instance, inbox: Receiver) -> None:
    """Started with Temporal's own tools: they work, and stop no sweep."""
    await forgetful.webhook(inbox.url)
    event = await forgetful.send()
    await forgetful.until_closed(event["id"])
    copy = await input_of(forgetful.temporal, forgetful.run(event["id"]), EventInput)
    for workflow_type, workflow_id in (
        (temporal_names.EVENT, "mine"),
        (temporal_names.PART, "event-of-mine.x"),
        (temporal_names.PART, "a-b"),
    ):
        unique = f"{forgetful.tenant}-{workflow_id}"
        queue = forgetful.settings.task_queue
        await forgetful.temporal.execute_workflow(workflow_type, copy, id=unique, task_queue=queue)
    await until_swept(sweep_of(forgetful), forgetful, event["id"])


async def test_the_sweep_adds_open_events(forgetful: Instance, inbox: Receiver) -> None:
    """Scheduled, retrying, held."""
    later = datetime.now(UTC) + timedelta(hours=1)
    await forgetful.webhook(inbox.url, retry=PATIENT)
    inbox.fails(503, 503)
    scheduled = await forgetful.send(deliver_at=later.isoformat())
    retrying, held = await forgetful.send(), await forgetful.send()
    for event in (retrying, held):
        await forgetful.until_delivery(event["id"], "retrying", attempts=1)
    await forgetful.command(held["id"], "hold")
    await forgetful.until_delivery(held["id"], "held")
    event_ids = [event["id"] for event in (scheduled, retrying, held)]
    sweep = sweep_of(forgetful)
    await until_swept(sweep, forgetful, *event_ids)

    await forgetful.command(retrying["id"], "hold")
    await forgetful.command(held["id"], "release")
    await forgetful.command(scheduled["id"], "cancel")
    await forgetful.until_closed(scheduled["id"])
    await until_swept(sweep, forgetful, *event_ids)


@pytest.mark.parametrize("forgetful", ["worker"], indirect=True)
async def test_while_many_events_are_open_only_those_that_are_due_are_checked(
    forgetful: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check costs Temporal a request, or several."""
    monkeypatch.setattr("hookkeeper.temporal.index_checks.FEW", 0)
    await forgetful.webhook(inbox.url, retry=PATIENT)
    inbox.fails(503)
    event = await forgetful.send()
    await forgetful.until_delivery(event["id"], "retrying", attempts=1)
    sweep, index = sweep_of(forgetful), forgetful.store.index
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (accepted := await indexed(forgetful, event["id"]))["status"] is None:
            await asyncio.sleep(0.1)
    assert accepted != derived(await forgetful.event(event["id"]))
    assert await sweep.sweep()
    assert await indexed(forgetful, event["id"]) == accepted
    (row,) = await index.swept_rows.open_events(1)
    await index.swept_rows.check_at({row.key: datetime.now(UTC)})
    await until_swept(sweep, forgetful, event["id"])
    (row,) = await index.swept_rows.open_events(1, until=datetime.now(UTC) + timedelta(minutes=5))
    assert row.key.event_id == event["id"], "it is checked again within five minutes"


@pytest.mark.parametrize("forgetful", ["worker"], indirect=True)
async def test_an_ended_event_is_checked_once_while_two_tenants_are_checked(
    forgetful: Instance, inbox: Receiver
) -> None:
    """An event that has ended is not checked again, although another tenant's checks began before its own had ended."""
    other = replace(forgetful, tenant=f"{forgetful.tenant}-b")
    for instance in (forgetful, other):
        await instance.webhook(inbox.url)
        await instance.until_closed((await instance.send())["id"])
    rows = forgetful.store.index.swept_rows
    async with asyncio.timeout(WAIT_TIMEOUT):
        while len(await rows.open_events(10)) < 2:  # as the API has reported them
            await asyncio.sleep(0.1)
    written = asyncio.Event()
    reader = PausingReader(forgetful.temporal, forgetful.store.index, concurrency=5, pause=0.0)
    reader.written = written
    checks = IndexChecks(forgetful.temporal, forgetful.store.index, reader)
    until = datetime.now(UTC) + CHECK_DELAY
    first = asyncio.create_task(checks.run_for(forgetful.tenant, until))
    await written.wait()
    await checks.run_for(other.tenant, until)
    await first
    assert await rows.open_events(10) == []


async def test_the_sweep_adds_a_large_event(forgetful: Instance, inbox: Receiver) -> None:
    """While two of its deliveries retry, and when it has closed."""
    hooks = await crowd(forgetful, inbox.url, 101)
    for hook in (hooks[3], hooks[100]):
        await forgetful.store.webhooks.update(hook, forgetful.tenant, {"retry": RetryPolicy(schedule=(3600,))})
        await forgetful.store.webhooks.update(hook, forgetful.tenant, {"url": inbox.url + "/busy"})
    inbox.fails(*[503] * 101)
    event = await forgetful.send()
    async with asyncio.timeout(WAIT_TIMEOUT):
        while {"pending", "sent"} & {
            delivery["status"] for delivery in (await forgetful.event(event["id"]))["deliveries"]
        }:
            await asyncio.sleep(0.1)
    sweep = sweep_of(forgetful)
    await until_swept(sweep, forgetful, event["id"])
    await forgetful.command(event["id"], "retry")
    await forgetful.until_closed(event["id"])
    await until_swept(sweep, forgetful, event["id"])


@pytest.mark.parametrize("forgetful", ["worker"], indirect=True)
async def test_the_sweep_adds_events_of_shared_runs(forgetful: Instance, inbox: Receiver) -> None:
    """Succeeded, without webhooks, continued in a run of its own, redelivered; of two tenants."""
    inbox.fails(503)
    webhook = await forgetful.webhook(inbox.url, retry=PATIENT)
    ids_ = [f"e{n}" for n in range(3)]
    events = [event_to(webhook, id=event_id, tenant=forgetful.tenant) for event_id in ids_]
    silent = [event_to(id="silent", tenant=tenant) for tenant in (forgetful.tenant, f"{forgetful.tenant}-b")]
    run = await share(forgetful, [*events, *silent])
    result = await run.result()
    (continued,) = [ids.event_of(key)[1] for key in result.continued]
    redelivered = next(event_id for event_id in ids_ if event_id != continued)
    await forgetful.command(redelivered, "redeliver")
    await forgetful.until_closed(redelivered)
    sweep = sweep_of(forgetful)
    await until_swept(sweep, forgetful, *ids_, "silent")
    other = replace(forgetful, tenant=f"{forgetful.tenant}-b")
    await until_swept(sweep, other, "silent")
    assert (await indexed(other, "silent"))["run_id"] == (await run.handle.describe()).run_id
    await forgetful.command(continued, "cancel")
    await forgetful.until_closed(continued)
    await until_swept(sweep, forgetful, continued)


async def test_a_shared_run_that_is_in_the_index_is_not_read(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker has reported all of it."""

    async def unexpected(client: Client, workflow_id: str) -> None:
        pytest.fail(f"{workflow_id} was read")

    webhook = await instance.webhook(inbox.url)
    events = [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(3)]
    run = await share(instance, events)
    states = {state.id: state for state in (await run.result()).finished}
    run_id = (await run.handle.describe()).run_id
    for shared in events:
        first = first_report(shared.event, states[shared.event.id], run_id, shared.digest, run.handle.id)
        await instance.store.index.write([first._replace(deliveries=())])
        await until_indexed(instance, shared.event.id)
    await until_listed(run)
    with monkeypatch.context() as patch:
        patch.setattr(shared_run_repair, "find_shared_run", unexpected)
        assert await sweep_of(instance).sweep()


@pytest.mark.parametrize("forgetful", ["worker"], indirect=True)
async def test_the_sweep_adds_events_of_a_terminated_shared_run(
    forgetful: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is queried. While no worker answers, the index has its events as open, and they are checked until one does."""
    monkeypatch.setattr("hookkeeper.temporal.run_snapshots.QUERY_TIMEOUT", 0.0)
    gate = asyncio.Event()
    inbox.otherwise = Answer(gate=gate)
    webhook = await forgetful.webhook(inbox.url)
    run = await share(forgetful, [event_to(webhook, id=f"e{n}", tenant=forgetful.tenant) for n in range(2)])
    await inbox.got(2)
    await run.handle.terminate()
    gate.set()
    sweep = sweep_of(forgetful)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await indexed(forgetful, "e1"))["status"] != "delivering":
            assert await sweep.sweep()
    assert await sweep.sweep()
    monkeypatch.undo()
    await until_swept(sweep, forgetful, "e0", "e1")


async def test_the_sweep_adds_events_of_shared_runs_that_no_worker_has_started(
    temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their events are open; once the run is deleted, they are removed, and not before."""
    monkeypatch.setattr("api.state.IndexBuffer", ForgetfulBuffer)
    async with running_instance(temporal, tmp_path) as instance:
        run = await share(instance, [event_to(id=f"e{n}", tenant=instance.tenant) for n in range(2)])
        sweep = sweep_of(instance)
        await until_swept(sweep, instance, "e0", "e1")
        assert await sweep.sweep()
        assert (await indexed(instance, "e0"))["status"] == "succeeded"
        workflow = WorkflowExecution(workflow_id=run.handle.id)
        request = DeleteWorkflowExecutionRequest(namespace=instance.temporal.namespace, workflow_execution=workflow)
        await instance.temporal.workflow_service.delete_workflow_execution(request)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await indexed(instance, "e0"))["status"] is not None:
                await sweep.sweep()


async def test_finished_events_leave_the_index_once_their_runs_are_deleted(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With runs of their own and shared ones; page by page. Others stay, and so does a later event with the same id."""
    monkeypatch.setattr(index_checks, "SETTLED", timedelta())
    monkeypatch.setattr(index_checks, "FINISHED", 2)
    webhook = await instance.webhook(inbox.url)
    names = [(await instance.send())["id"] for _ in range(3)]
    shared = [event_to(webhook, id=f"{name}{n}", tenant=instance.tenant) for name in ("kept", "gone") for n in (1, 2)]
    runs = [await share(instance, events) for events in (shared[:2], shared[2:])]
    for name in [*names, *(event.event.id for event in shared)]:
        await instance.until_final(name)
    sweep = sweep_of(instance)
    await until_swept(sweep, instance, *names, *(event.event.id for event in shared))
    for handle in (instance.run(names[0]), instance.run(names[1]), runs[1].handle):
        description = await handle.describe()
        await delete_run(instance.temporal, description.id, description.run_id)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while await find_run(instance.temporal, description.id):
                await asyncio.sleep(0.05)
    assert (await instance.send(id=names[1]))["duplicate"] is False
    await instance.until_final(names[1])
    expected = sorted([names[1], names[2], "kept1", "kept2"])
    async with asyncio.timeout(WAIT_TIMEOUT):
        while sorted(event["id"] for event in await listed(instance)) != expected:
            assert await sweep.sweep()


@pytest.mark.parametrize("forgetful", ["worker"], indirect=True)
async def test_the_catch_up_of_a_tenant_reads_runs_that_it_shares_with_others(
    forgetful: Instance, inbox: Receiver
) -> None:
    webhook = await forgetful.webhook(inbox.url)
    mine = event_to(webhook, id="e0", tenant=forgetful.tenant)
    run = await share(forgetful, [mine, event_to(id="e1", tenant=f"{forgetful.tenant}-b")])
    await run.result()
    settings = forgetful.settings
    catch_up = IndexCatchUp(forgetful.temporal, forgetful.store.index, settings.task_queue, settings.retention)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await indexed(forgetful, "e0"))["status"] != "succeeded":
            await catch_up.run(forgetful.tenant)


async def test_the_sweep_adds_an_event_that_no_worker_has_started(
    temporal: Client, tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read without a worker; also if it is terminated."""
    monkeypatch.setattr("api.state.IndexBuffer", ForgetfulBuffer)
    async with running_instance(temporal, tmp_path) as instance:
        await instance.webhook(inbox.url)
        event = await instance.send()
        sweep = sweep_of(instance)
        await until_swept(sweep, instance, event["id"])
        await instance.run(event["id"]).terminate()
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await indexed(instance, event["id"]))["status"] != "cancelled":
                await sweep.sweep()


async def test_an_event_that_cannot_be_read_is_read_later(
    forgetful: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminated run is queried, and only a worker can answer. It does not stop the sweep."""
    monkeypatch.setattr("hookkeeper.temporal.run_snapshots.QUERY_TIMEOUT", 0.0)
    await forgetful.webhook(inbox.url, retry=PATIENT)
    inbox.fails(503)
    event = await forgetful.send()
    await forgetful.until_delivery(event["id"], "retrying", attempts=1)
    await forgetful.run(event["id"]).terminate()
    sweep = sweep_of(forgetful)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await indexed(forgetful, event["id"]))["status"] != "delivering":
            assert await sweep.sweep()
    assert await sweep.sweep()
    monkeypatch.undo()
    await until_swept(sweep, forgetful, event["id"])


async def test_nothing_is_skipped_while_temporal_is_away(
    forgetful: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(client: Client, workflow_id: str) -> WorkflowExecutionDescription | None:
        raise RPCError("no connection", RPCStatusCode.UNAVAILABLE, b"")

    await forgetful.webhook(inbox.url)
    event = await forgetful.send()
    await forgetful.until_closed(event["id"])
    sweep, leases, queue = sweep_of(forgetful), forgetful.store.index.leases, forgetful.settings.task_queue
    with monkeypatch.context() as patch:
        patch.setattr(index_repair, "find_run", away)
        with pytest.raises(RPCError):
            await endlessly(sweep)
    await leases.release(queue, sweep._holder)
    position = await leases.lease(queue, sweep._holder, 60)
    assert position
    assert position.until is None or position.until < (await forgetful.run(event["id"]).describe()).start_time
    await until_swept(sweep, forgetful, event["id"])


@pytest.mark.parametrize("forgetful", ["api and worker"], indirect=True)
async def test_nothing_is_skipped_after_the_clock_of_temporal_was_set_back(
    forgetful: Instance, inbox: Receiver
) -> None:
    """Timeline: the clock is ahead, and so is the position of the sweep; it is set right; an event comes."""
    sweep = sweep_of(forgetful)
    await set_position(forgetful, sweep, datetime.now(UTC) + timedelta(minutes=55))
    await forgetful.webhook(inbox.url)
    event = await forgetful.send()
    await forgetful.until_closed(event["id"])
    await until_swept(sweep, forgetful, event["id"])


async def endlessly(sweep: IndexSweep) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            await sweep.sweep()


async def test_one_process_sweeps_at_a_time(instance: Instance) -> None:
    first, second = sweep_of(instance), sweep_of(instance)
    async with first.running():
        assert await first.sweep()
        assert not await second.sweep()
    assert await second.sweep()


async def test_an_event_whose_runs_were_deleted_is_removed(instance: Instance, inbox: Receiver) -> None:
    """By an operator, with Temporal's own tools."""
    await instance.webhook(inbox.url, retry=PATIENT)
    inbox.fails(503)
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    sweep = sweep_of(instance)
    await until_swept(sweep, instance, event["id"])
    request = DeleteWorkflowExecutionRequest(
        namespace=instance.temporal.namespace,
        workflow_execution=WorkflowExecution(workflow_id=instance.run(event["id"]).id),
    )
    await instance.temporal.workflow_service.delete_workflow_execution(request)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await indexed(instance, event["id"]))["status"] is not None:
            await sweep.sweep()


async def test_an_event_that_ends_after_the_clock_was_set_back_is_shown_as_ended(
    instance: Instance, inbox: Receiver
) -> None:
    """Timeline: a delivery fails; Temporal's clock is set back, so the row has a later time; the delivery succeeds.
    Proves: the event is not shown as open for ever, although each report of its end seems to be older.
    """
    await instance.webhook(inbox.url, retry=PATIENT)
    inbox.fails(503)
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    await until_indexed(instance, event["id"])
    later = datetime.now(UTC) + timedelta(minutes=1)
    await set_time_of_rows(instance, event["id"], later)
    await instance.command(event["id"], "retry")
    await instance.until_closed(event["id"])
    await until_swept(sweep_of(instance), instance, event["id"])
    assert await instance.store.index.swept_rows.open_events(10, instance.tenant) == []


async def test_events_that_a_restore_of_temporal_has_reopened_are_listed_as_open(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: a delivery fails; Temporal is backed up; the delivery succeeds; Temporal is restored.
    Proves: the event is listed as open, and its success is not counted.
    """
    monkeypatch.setattr(index_repair, "MAX_LISTING_DELAY", timedelta(seconds=-5))
    await instance.webhook(inbox.url, retry=PATIENT)
    inbox.fails(503)
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    await until_indexed(instance, event["id"])
    (row,) = await instance.store.index.swept_rows.open_events(10, instance.tenant)
    end = row.as_of + timedelta(seconds=1)
    await write_success(instance, event["id"], end)
    assert (await indexed(instance, event["id"]))["status"] == "succeeded"
    sweep = sweep_of(instance)
    await set_position(instance, sweep, datetime.now(UTC) + timedelta(hours=3))  # only the list of open runs has it
    await until_swept(sweep, instance, event["id"])
    (counted,) = (await instance.http.get("/v1/stats", params={"tenant": instance.tenant})).json()["items"]
    assert (counted["events"], counted["attempts"], counted["deliveries_succeeded"]) == (1, 2, 0)


async def set_position(instance: Instance, sweep: IndexSweep, until: datetime) -> None:
    leases, queue = instance.store.index.leases, instance.settings.task_queue
    await leases.lease(queue, sweep._holder, 60)
    await leases.set_position(queue, SweepPosition(None, until))


async def write_success(instance: Instance, event_id: str, end: datetime) -> None:
    """Let the index have a second attempt, which has succeeded."""
    run = await instance.run(event_id).describe()
    state = (await read_snapshot(instance.temporal, run)).state
    (delivery,) = state.deliveries
    attempt = delivery.attempts[0].model_copy(update={"number": 2, "status_code": 200, "error": None})
    succeeded = delivery.model_copy(update={"status": "succeeded", "attempts": (*delivery.attempts, attempt)})
    done = state.model_copy(update={"status": "succeeded", "deliveries": (succeeded,), "finished_at": end})
    await instance.store.index.write([report_of(done, progress_of(done, run.run_id, ""), end, end)])
