"""Events that share a run: one activity makes their first attempts, and what has not succeeded gets its own run."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import WorkflowExecutionStatus

from hookkeeper import ids
from hookkeeper.messages.event import EventState
from instances import Instance
from receivers import Receiver, receiver
from shared_runs import event_to, start

NEVER = {"schedule": [3600]}


@pytest.fixture
async def other() -> AsyncIterator[Receiver]:
    async with receiver() as serving:
        yield serving


async def own_run(instance: Instance, event_id: str) -> EventState:
    """Return the state of the event's own run, as it is now."""
    handle = instance.run(event_id)
    return await handle.query(ids.STATE, result_type=EventState)  # type: ignore[no-any-return]


async def test_all_succeed_in_one_activity(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    events = [event_to(webhook, id=f"e{number}", tenant=instance.tenant) for number in range(50)]
    run = await start(instance, events)
    result = await run.result()
    assert [state.id for state in result.finished] == [event.event.id for event in events]
    assert {state.status for state in result.finished} == {"succeeded"}
    assert all(state.finished_at and len(state.deliveries[0].attempts) == 1 for state in result.finished)
    assert result.continued == ()
    assert await run.activities() == [ids.DELIVER_TOGETHER]
    assert sorted(request.webhook_id for request in inbox.requests) == sorted(event.event.id for event in events)


async def test_what_has_not_succeeded_gets_its_own_run(instance: Instance, inbox: Receiver, other: Receiver) -> None:
    gone = await instance.webhook(inbox.url, retry={"schedule": [0.1]})
    webhook = await instance.webhook(other.url, retry={"schedule": [0.1]})
    inbox.fails(410)
    other.fails(500)
    events = [event_to(gone, id="e0", tenant=instance.tenant)]
    events += [event_to(webhook, id=f"e{number}", tenant=instance.tenant) for number in range(1, 3)]
    result = await (await start(instance, events)).result()
    assert len(result.finished) == 1
    keys = {ids.workflow_id(instance.tenant, f"e{number}") for number in range(3)}
    assert {*result.continued} == keys - {ids.workflow_id(instance.tenant, result.finished[0].id)}
    statuses = set()
    for key in result.continued:
        handle = instance.temporal.get_workflow_handle(key)
        while (described := await handle.describe()).status == WorkflowExecutionStatus.RUNNING:
            await asyncio.sleep(0.05)
        statuses.add(described.status)
        assert (await described.memo())["digest"].startswith("digest of e")
    assert statuses == {WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.FAILED}
    assert (len(inbox.requests), len(other.requests)) == (1, 3), "three first attempts, and a retry"
