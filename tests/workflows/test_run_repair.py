"""Events whose runs have ended abnormally are found, once nothing was recorded of them for some time."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy

from claimed_runs import acceptance, share
from hookkeeper import ids
from hookkeeper.messages.event import EventInput
from hookkeeper.policy import RetryPolicy
from hookkeeper.temporal import run_repair
from hookkeeper.temporal.events.run_state import find_run, input_of
from hookkeeper.temporal.run_repair import RunRepair
from hookkeeper.times import utc_now
from index_rows import derived, indexed, until_indexed
from instances import Instance
from receivers import Answer, Receiver
from reports import changed
from shared_runs import event_to
from timeouts import WAIT_TIMEOUT

PATIENT = RetryPolicy(schedule=(3600,)).model_dump()
AT_ONCE = timedelta(seconds=-1)


async def until_repaired(instance: Instance, event_id: str, status: str | None) -> None:
    """Repair until the event has this status in lists: the server deletes and closes runs a little later."""
    repair = RunRepair(instance.temporal, instance.gateway, instance.store)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await indexed(instance, event_id))["status"] != status:
            await repair.repair(AT_ONCE)
            await asyncio.sleep(0.05)


async def delete(instance: Instance, workflow_id: str) -> None:
    """Delete a run with Temporal's own tools."""
    request = DeleteWorkflowExecutionRequest(
        namespace=instance.temporal.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
    )
    await instance.temporal.workflow_service.delete_workflow_execution(request)


async def retrying(instance: Instance, inbox: Receiver) -> str:
    """Return an event with a delivery that is retried in an hour."""
    await instance.webhook(inbox.url, retry=PATIENT)
    inbox.fails(503)
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    await until_indexed(instance, event["id"])
    return str(event["id"])


async def terminate(instance: Instance, event_id: str) -> None:
    await instance.run(event_id).terminate()


async def time_out(instance: Instance, event_id: str) -> None:
    """Replace the run by one with a timeout, as Temporal's own tools can start it."""
    run = await instance.run(event_id).describe()
    await instance.temporal.start_workflow(
        run.workflow_type,
        await input_of(instance.temporal, instance.run(event_id), EventInput),
        id=run.id,
        task_queue=run.task_queue,
        memo=await run.memo(),
        run_timeout=timedelta(seconds=1),
        id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
    )
    with pytest.raises(WorkflowFailureError):
        await instance.run(event_id).result()
    assert (await instance.run(event_id).describe()).status == WorkflowExecutionStatus.TIMED_OUT


@pytest.mark.promise("docs/guarantees.md")
@pytest.mark.parametrize("end", [terminate, time_out])
async def test_an_event_whose_run_has_ended_abnormally_is_cancelled_and_can_be_redelivered(
    own_instance: Instance, inbox: Receiver, end: Callable[[Instance, str], Awaitable[None]]
) -> None:
    event_id = await retrying(own_instance, inbox)
    inbox.otherwise = Answer(503)
    await end(own_instance, event_id)
    inbox.otherwise = Answer()
    await until_repaired(own_instance, event_id, "cancelled")
    assert await indexed(own_instance, event_id) == derived(await own_instance.event(event_id))
    assert (await own_instance.command(event_id, "redeliver")).status_code == 202
    await own_instance.until(event_id, "succeeded")
    await until_indexed(own_instance, event_id)


async def test_a_reset_run_goes_on_and_its_rows_follow(own_instance: Instance, inbox: Receiver) -> None:
    """The run had finished. It makes its attempt again, and the event is shown as finished until it does."""
    await own_instance.webhook(inbox.url)
    event_id = (await own_instance.send(deliver_at=(utc_now() + timedelta(seconds=0.5)).isoformat()))["id"]
    await own_instance.until_closed(event_id)
    await until_indexed(own_instance, event_id)
    run = await own_instance.run(event_id).describe()
    inbox.fails(410)
    reset = ResetWorkflowExecutionRequest(
        namespace=own_instance.temporal.namespace,
        workflow_execution=WorkflowExecution(workflow_id=run.id, run_id=run.run_id),
        workflow_task_finish_event_id=4,
        request_id="reset",
        reason="test",
    )
    await own_instance.temporal.workflow_service.reset_workflow_execution(reset)
    await own_instance.until(event_id, "failed")
    await own_instance.until_closed(event_id)
    await until_indexed(own_instance, event_id)
    assert (await indexed(own_instance, event_id))["run_id"] != run.run_id
    assert len(inbox.requests) == 2


async def lose(instance: Instance, workflow_id: str) -> None:
    """Delete a run, as a Temporal that is restored from a backup, or a new one, does not have it."""
    await delete(instance, workflow_id)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await find_run(instance.temporal, workflow_id):
            await asyncio.sleep(0.05)


async def repaired(instance: Instance) -> int:
    return await RunRepair(instance.temporal, instance.gateway, instance.store).repair(AT_ONCE)


async def test_a_finished_event_whose_run_is_lost_is_read_and_can_be_redelivered(
    own_instance: Instance, inbox: Receiver
) -> None:
    await own_instance.webhook(inbox.url)
    event_id = (await own_instance.send())["id"]
    await own_instance.until_closed(event_id)
    await until_indexed(own_instance, event_id)
    await lose(own_instance, ids.workflow_id(own_instance.tenant, event_id))
    assert await repaired(own_instance) == 0
    event = await own_instance.event(event_id)
    assert (event["status"], len(event["deliveries"][0]["attempts"])) == ("succeeded", 1)
    refused = await own_instance.command(event_id, "cancel")
    assert (refused.status_code, "already succeeded" in refused.text) == (409, True)
    assert (await own_instance.command(event_id, "redeliver")).status_code == 202
    await inbox.got(2)
    await own_instance.until_closed(event_id)


@pytest.mark.promise("docs/guarantees.md")
@pytest.mark.parametrize("how", ["repair", "command"])
async def test_an_open_event_whose_run_is_lost_goes_on_from_its_row(
    own_instance: Instance, inbox: Receiver, how: str
) -> None:
    event_id = await retrying(own_instance, inbox)
    (before,) = (await own_instance.event(event_id))["deliveries"]
    await lose(own_instance, ids.workflow_id(own_instance.tenant, event_id))
    assert (await own_instance.event(event_id))["status"] == "delivering"
    if how == "repair":
        assert (await repaired(own_instance), await repaired(own_instance)) == (1, 0)
        (after,) = (await own_instance.event(event_id))["deliveries"]
        assert after == before
    assert (await own_instance.command(event_id, "retry")).status_code == 202
    await own_instance.until(event_id, "succeeded")
    await until_indexed(own_instance, event_id)
    assert (await indexed(own_instance, event_id))["status"] == "succeeded"
    assert len(inbox.requests) == 2


async def test_events_whose_shared_run_and_own_runs_are_lost_go_on(own_instance: Instance, inbox: Receiver) -> None:
    webhook = await own_instance.webhook(inbox.url, retry=PATIENT)
    inbox.fails(503, 503)
    run = await share(own_instance, [event_to(webhook, id=f"e{n}", tenant=own_instance.tenant) for n in range(2)])
    for n in range(2):
        await own_instance.until_delivery(f"e{n}", "retrying", attempts=1)
        await until_indexed(own_instance, f"e{n}")
    for lost in (run.handle.id, *(ids.workflow_id(own_instance.tenant, f"e{n}") for n in range(2))):
        await lose(own_instance, lost)
    assert await repaired(own_instance) == 2
    for n in range(2):
        assert (await own_instance.command(f"e{n}", "retry")).status_code == 202
        await own_instance.until(f"e{n}", "succeeded")
    assert len(inbox.requests) == 4


async def test_ordered_events_whose_runs_are_lost_keep_their_order(own_instance: Instance, inbox: Receiver) -> None:
    await own_instance.webhook(inbox.url, retry=PATIENT, ordered=True)
    inbox.fails(503)
    sent = [(await own_instance.send(data={"n": n}))["id"] for n in range(3)]
    await own_instance.until_delivery(sent[0], "retrying", attempts=1)
    for event_id in sent[1:]:
        await own_instance.until_delivery(event_id, "pending")
    for event_id in reversed(sent):
        await until_indexed(own_instance, event_id)
        await lose(own_instance, ids.workflow_id(own_instance.tenant, event_id))
    assert await repaired(own_instance) == 3
    await asyncio.sleep(0.5)
    assert len(inbox.requests) == 1
    assert (await own_instance.command(sent[0], "retry")).status_code == 202
    for event_id in sent:
        await own_instance.until(event_id, "succeeded")
    assert [json.loads(request.body)["data"]["n"] for request in inbox.requests] == [0, 0, 1, 2]


async def terminate_shared_run(instance: Instance, inbox: Receiver) -> None:
    """Terminate the run of the events e0 and e1, while their requests are in flight."""
    gate = asyncio.Event()
    inbox.otherwise = Answer(gate=gate)
    webhook = await instance.webhook(inbox.url)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(2)])
    await inbox.got(2)
    await run.handle.terminate()
    gate.set()


async def test_events_of_a_terminated_shared_run_are_cancelled(own_instance: Instance, inbox: Receiver) -> None:
    await terminate_shared_run(own_instance, inbox)
    for event_id in ("e0", "e1"):
        await until_repaired(own_instance, event_id, "cancelled")


async def test_an_event_without_run_and_input_is_removed(own_instance: Instance) -> None:
    """`hookkeeper reindex` had found it in a run, which is lost."""
    event = event_to(id="never", tenant=own_instance.tenant)
    for shared_run in (ids.shared_run_id(), None):
        await own_instance.store.rows.accept([changed(acceptance(event, shared_run), input="")])
        await set_open(own_instance, "never")
        await until_repaired(own_instance, "never", None)


async def set_open(instance: Instance, event_id: str) -> None:
    """An event without webhooks counts as succeeded at once; let it wait, as one with webhooks does."""
    row = await instance.store.rows.find(instance.tenant, event_id)
    assert row is not None
    shared = event_to(id=event_id, tenant=instance.tenant)
    as_now = {"accepted_at": row.accepted_at, "as_of": row.accepted_at, "status": "delivering", "input": ""}
    await instance.store.rows.write([changed(acceptance(shared, row.shared_run), **as_now)])


@pytest.mark.parametrize("paused", [True, False], ids=["held", "retrying"])
async def test_open_events_stay_as_they_are(own_instance: Instance, inbox: Receiver, paused: bool) -> None:
    event_id = await retrying(own_instance, inbox)
    if paused:
        await own_instance.command(event_id, "hold")
        await until_indexed(own_instance, event_id)
    before = await indexed(own_instance, event_id)
    assert await RunRepair(own_instance.temporal, own_instance.gateway, own_instance.store).repair(AT_ONCE) == 0
    assert await indexed(own_instance, event_id) == before


@pytest.mark.parametrize("later", [None, ids.shared_run_id()], ids=["own", "shared"])
async def test_a_restored_shared_run_attempts_an_event_whose_later_run_is_lost(
    own_instance: Instance, inbox: Receiver, later: str | None
) -> None:
    """Temporal was restored to a time at which the event shared a run; its row names the run that it had later."""
    webhook = await own_instance.webhook(inbox.url)
    event = event_to(webhook, id="e0", tenant=own_instance.tenant)
    await own_instance.store.rows.accept([acceptance(event, later)])
    shared_run = ids.shared_run_id()
    await own_instance.gateway.runs.start_shared(shared_run, [event])
    await inbox.got(1)
    await own_instance.temporal.get_workflow_handle(shared_run).result()
    assert (await own_instance.event("e0"))["status"] == "succeeded"


async def test_what_waits_is_looked_up_once_and_what_was_terminated_is_found(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: events that wait for a retry, and for their time. Proves: the first repair looks them up; the next ones
    only ask for those whose runs were terminated.
    """
    monkeypatch.setattr(run_repair, "MIN_AGE", AT_ONCE)
    looked_up: list[str] = []

    runs = own_instance.gateway.runs
    repair_one = runs.repair

    async def counted(tenant: str, event_id: str) -> bool:
        looked_up.append(event_id)
        return await repair_one(tenant, event_id)

    repair = RunRepair(own_instance.temporal, own_instance.gateway, own_instance.store)
    assert await own_instance.store.index.leases.take(run_repair.LEASE_NAME, 60)
    waiting = await retrying(own_instance, inbox)
    inbox.otherwise = Answer(503)
    later = (await own_instance.send(deliver_at=(utc_now() + timedelta(hours=1)).isoformat()))["id"]
    assert await repair.repair_regularly() == 0
    monkeypatch.setattr(runs, "repair", counted)
    for _ in range(2):
        assert await repair.repair_regularly() == 0
    assert looked_up == []
    await own_instance.run(waiting).terminate()
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await indexed(own_instance, waiting))["status"] != "cancelled":
            await repair.repair_regularly()
            await asyncio.sleep(0.05)
    assert (await own_instance.event(later))["status"] == "scheduled"
    assert later not in looked_up


async def test_events_of_a_shared_run_that_was_terminated_are_found(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_repair, "MIN_AGE", timedelta(hours=1))
    repair = RunRepair(own_instance.temporal, own_instance.gateway, own_instance.store)
    assert await own_instance.store.index.leases.take(run_repair.LEASE_NAME, 60)
    await repair.repair_regularly()
    await terminate_shared_run(own_instance, inbox)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while {(await indexed(own_instance, f"e{n}"))["status"] for n in range(2)} != {"cancelled"}:
            await repair.repair_regularly()
            await asyncio.sleep(0.05)


@pytest.mark.promise("docs/guarantees.md")
async def test_a_run_that_is_lost_is_found_by_the_repair_of_the_day(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_repair, "MIN_AGE", AT_ONCE)
    repair = RunRepair(own_instance.temporal, own_instance.gateway, own_instance.store)
    assert await own_instance.store.index.leases.take(run_repair.LEASE_NAME, 60)
    event_id = await retrying(own_instance, inbox)
    await repair.repair_regularly()
    workflow_id = ids.workflow_id(own_instance.tenant, event_id)
    await lose(own_instance, workflow_id)
    assert await repair.repair_regularly() == 0
    assert await find_run(own_instance.temporal, workflow_id) is None
    monkeypatch.setattr(run_repair, "FULL_INTERVAL", timedelta())
    assert await repair.repair_regularly() == 1
    assert await find_run(own_instance.temporal, workflow_id)
