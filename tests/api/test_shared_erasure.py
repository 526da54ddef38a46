"""Erasure of one event of a shared run: the others go to a run that replaces it, and the shared run is deleted."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from problems import problem
from temporalio.client import Client

from claimed_runs import share, until_listed
from hookkeeper import ids
from hookkeeper.registry.events.rows import EventRows
from hookkeeper.services.events.reads import read_event
from hookkeeper.temporal.events import erasure
from hookkeeper.temporal.events.erasure import delete_run
from hookkeeper.temporal.events.shared_runs import find_shared_run, start_shared_run
from hookkeeper.temporal.run_repair import RunRepair
from hookkeeper.temporal.server.error_translation import Unavailable
from index_rows import indexed, until_indexed
from instances import Instance
from receivers import Answer, Receiver, receiver
from shared_runs import SharedRun, event_to
from timeouts import WAIT_TIMEOUT


class Killed(Exception):
    """As if the process had been killed."""


async def shared(instance: Instance, names: Sequence[str], *webhooks: dict[str, Any]) -> SharedRun:
    """Share a run that has ended, with an event of each name, and of another tenant."""
    events = [event_to(*webhooks, id=name, tenant=instance.tenant) for name in names]
    run = await share(instance, [*events, event_to(*webhooks, id="other", tenant=f"{instance.tenant}-b")])
    await run.result()
    await until_listed(run)
    return run


async def erase(instance: Instance, event_id: str) -> int:
    answer = await instance.http.delete(f"/v1/events/{event_id}/data", params={"tenant": instance.tenant})
    return answer.status_code


async def until_gone(instance: Instance, event_id: str) -> None:
    """Wait until the API does not know the event, and no run has it."""
    params = {"tenant": instance.tenant}
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.http.get(f"/v1/events/{event_id}", params=params)).status_code != 404:
            await asyncio.sleep(0.05)
        while await instance.gateway.erasure.shared_runs(instance.tenant, event_id, None):
            await asyncio.sleep(0.05)


async def until_deleted(instance: Instance, workflow_id: str) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await find_shared_run(instance.temporal, workflow_id):
            await asyncio.sleep(0.05)


async def test_erasing_an_event_keeps_the_others_of_its_shared_run(instance: Instance, inbox: Receiver) -> None:
    """Timeline: one event is erased, then another one, then the last of the tenant.
    Proves: the others are shown and indexed as before, in the run that replaces theirs, and nothing is sent.
    """
    webhook = await instance.webhook(inbox.url)
    run = await shared(instance, ["e0", "e1", "e2"], webhook)
    before = await instance.event("e2")
    for n, erased in enumerate(("e0", "e1"), start=1):
        assert await erase(instance, erased) == 202
        await until_gone(instance, erased)
        assert (await indexed(instance, erased))["status"] is None
        after = await instance.event("e2")
        assert after["workflow_id"] == f"{run.handle.id}.{n}"
        for same in ("data", "status", "finished_at", "accepted_at", "deliveries"):
            assert after[same] == before[same]
        await until_indexed(instance, "e2")
    await until_deleted(instance, run.handle.id)
    assert await erase(instance, "e2") == 202
    await until_gone(instance, "e2")
    found = await read_event(instance.store.rows, f"{instance.tenant}-b", "other")
    assert (found.row.workflow_id, found.state.status) == (f"{run.handle.id}.3", "succeeded")
    assert len(inbox.requests) == 4
    assert (await instance.send(id="e0"))["duplicate"] is False


@pytest.mark.promise("docs/events.md")
async def test_erasing_the_last_event_of_a_shared_run_starts_no_replacement(instance: Instance) -> None:
    """No run replaces its own."""
    run = await share(instance, [event_to(id="e0", tenant=instance.tenant)])
    await run.result()
    assert await erase(instance, "e0") == 202
    await until_gone(instance, "e0")
    await until_deleted(instance, run.handle.id)
    assert await instance.store.rows.find(instance.tenant, "e0") is None


async def test_erasing_an_event_deletes_its_own_runs_too(instance: Instance, inbox: Receiver) -> None:
    """Setup: one event continued in its own run, one was redelivered. Timeline: erase both.
    Proves: all their runs go, and their data in the shared run; those that continued are in no replacement.
    """
    webhook = await instance.webhook(inbox.url)
    async with receiver() as gone:
        gone.otherwise = Answer(410)
        failing = await instance.webhook(gone.url)
        continued, redelivered, kept = "e0", "e1", "e2"
        events = [event_to(webhook, id=name, tenant=instance.tenant) for name in (redelivered, kept)]
        run = await share(instance, [event_to(failing, id=continued, tenant=instance.tenant), *events])
        await until_listed(run)
        assert (await run.result()).continued == (ids.workflow_id(instance.tenant, continued),)
        await instance.until_closed(continued)
    await instance.command(redelivered, "redeliver")
    await instance.until_closed(redelivered)
    assert await erase(instance, redelivered) == 202
    await until_gone(instance, redelivered)
    replacement = await find_shared_run(instance.temporal, f"{run.handle.id}.1")
    assert replacement
    assert [event.id for event in replacement.events] == [kept]
    row = await instance.store.rows.find(instance.tenant, continued)
    assert row
    assert row.shared_run is None
    assert (await instance.event(continued))["status"] == "failed"
    assert await erase(instance, continued) == 202
    await until_gone(instance, continued)
    assert (await instance.event(kept))["status"] == "succeeded"


async def test_an_id_can_be_used_again_while_the_server_deletes(instance: Instance, inbox: Receiver) -> None:
    """Setup: an event was in a shared run, then in its own. Timeline: erase it, post its id again until it is new.
    Proves: the new event waits for the old one's end, and all its retries are made.
    """
    inbox.fails(503, 503)
    webhook = await instance.webhook(inbox.url, retry={"schedule": [0.1]})
    run = await share(instance, [event_to(webhook, id="e0", tenant=instance.tenant)])
    await run.result()
    await until_listed(run)
    await instance.until_closed("e0")
    assert await erase(instance, "e0") == 202
    inbox.fails(503)
    event = {"type": "order.paid", "tenant": instance.tenant, "id": "e0", "data": "new"}
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (answer := await instance.http.post("/v1/events", json=event)).status_code == 409:
            await asyncio.sleep(0.05)
    assert (answer.status_code, answer.json()["duplicate"]) == (202, False)
    shown = await instance.until("e0", "succeeded")
    assert (shown["data"], len(shown["deliveries"][0]["attempts"])) == ("new", 2)


async def test_an_event_of_an_open_shared_run_cannot_be_erased(instance: Instance, inbox: Receiver) -> None:
    gate = asyncio.Event()
    inbox.otherwise = Answer(gate=gate)
    webhook = await instance.webhook(inbox.url)
    run = await share(instance, [event_to(webhook, id="e0", tenant=instance.tenant)])
    await inbox.got(1)
    answer = await instance.http.delete("/v1/events/e0/data", params={"tenant": instance.tenant})
    problem(answer, 409)
    gate.set()
    await run.result()
    assert await erase(instance, "e0") == 202


async def test_an_event_of_a_terminated_shared_run_can_be_erased(instance: Instance, inbox: Receiver) -> None:
    """Its unfinished events have ended with it; the repair closes the rows of the others, as without an erasure."""
    gate = asyncio.Event()
    inbox.otherwise = Answer(gate=gate)
    webhook = await instance.webhook(inbox.url)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(2)])
    await inbox.got(2)
    await run.handle.terminate()
    gate.set()
    assert await erase(instance, "e0") == 202
    await until_gone(instance, "e0")
    await RunRepair(instance.temporal, instance.gateway, instance.store).repair(timedelta(seconds=-1))
    kept = await instance.event("e1")
    assert (kept["status"], kept["workflow_id"]) == ("cancelled", f"{run.handle.id}.1")
    await until_indexed(instance, "e1")


@pytest.mark.promise("docs/events.md")
async def test_concurrent_erasures_of_one_shared_run_all_succeed(instance: Instance) -> None:
    """All of one run, each twice: the requests continue with the runs of the others. 503 means: try again."""
    names = [f"e{n}" for n in range(5)]
    run = await shared(instance, [*names, "kept"])

    async def until_erased(event_id: str) -> None:
        async with asyncio.timeout(WAIT_TIMEOUT):
            while await erase(instance, event_id) == 503:
                await asyncio.sleep(0.05)

    await asyncio.gather(*(until_erased(name) for name in names * 2))
    for name in names:
        await until_gone(instance, name)
        assert (await indexed(instance, name))["status"] is None
    for tenant, event_id in ((instance.tenant, "kept"), (f"{instance.tenant}-b", "other")):
        found = await read_event(instance.store.rows, tenant, event_id)
        assert found.state.status == "no_webhook"
        row = await instance.store.rows.find(tenant, event_id)
        assert row
        assert row.shared_run == found.row.workflow_id
    await until_deleted(instance, run.handle.id)


@pytest.mark.parametrize("step", ["start", "move", "delete"])
async def test_a_killed_erasure_can_be_repeated(instance: Instance, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Timeline: the process is killed before a step; another event is erased; the first request is repeated.
    Proves: both are gone, the other one is there at any time.
    """
    await shared(instance, ["e0", "e1", "kept"])

    async def killed(*arguments: Any, **named: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        if step in ("start", "delete"):
            patch.setattr(erasure, {"start": "start_shared_run", "delete": "delete_run"}[step], killed)
        else:
            patch.setattr(EventRows, step, killed)
        with pytest.raises(Killed):
            await instance.gateway.erasure.erase(instance.tenant, "e0")
    assert (await instance.event("kept"))["status"] == "no_webhook"
    assert await erase(instance, "e1") == 202
    assert await erase(instance, "e0") in (202, 404)
    for erased in ("e0", "e1"):
        await until_gone(instance, erased)
    assert (await instance.event("kept"))["status"] == "no_webhook"
    await until_indexed(instance, "kept")


async def test_an_erased_event_does_not_return_if_its_run_is_deleted_late(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: a request is killed after it has started the run that replaces an event's; another event is erased,
    whose runs the server deletes in another order; the first request is repeated.
    Proves: the other event does not come back in the first replacement.
    """
    run = await shared(instance, ["e0", "e1", "kept"])

    async def killed(*arguments: Any) -> None:
        raise Killed

    async def late(client: Client, workflow_id: str, run_id: str) -> None:
        if workflow_id != run.handle.id:
            await delete_run(client, workflow_id, run_id)

    with monkeypatch.context() as patch:
        patch.setattr(EventRows, "move", killed)
        with pytest.raises(Killed):
            await instance.gateway.erasure.erase(instance.tenant, "e0")
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "delete_run", late)
        assert await erase(instance, "e1") == 202
    await until_deleted(instance, f"{run.handle.id}.1")
    assert await erase(instance, "e0") == 202
    for erased in ("e0", "e1"):
        await until_gone(instance, erased)
    assert (await instance.event("kept"))["workflow_id"] == f"{run.handle.id}.2"


async def test_an_outdated_erasure_restores_no_erased_event(instance: Instance) -> None:
    """Setup: two events are erased while a third request sleeps, which has read the run before.
    Proves: it continues with the present run, and erased data does not come back.
    """
    run = await shared(instance, ["e0", "e1", "e2", "kept"])
    late = await instance.gateway.erasure.find(instance.tenant, "e2")
    assert late
    for erased in ("e0", "e1"):
        assert await erase(instance, erased) == 202
        await until_gone(instance, erased)
    for deleted in (run.handle.id, f"{run.handle.id}.1"):
        await until_deleted(instance, deleted)
    await instance.store.rows.remove(instance.tenant, "e2")
    await instance.gateway.erasure.delete(late)
    for erased in ("e0", "e1", "e2"):
        await until_gone(instance, erased)
    await until_deleted(instance, f"{run.handle.id}.1")
    assert (await instance.event("kept"))["status"] == "no_webhook"


async def test_a_late_replacement_is_deleted_and_the_erasure_fails(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: as before, but the request sleeps just before it starts the replacement, whose id is free again.
    Proves: it finds out, deletes what it has started, and asks for another try.
    """
    run = await shared(instance, ["e0", "e1", "e2", "kept"])
    late = await instance.gateway.erasure.find(instance.tenant, "e2")
    assert late

    async def started_late(*arguments: Any) -> str | None:
        monkeypatch.undo()
        for erased in ("e0", "e1"):
            assert await erase(instance, erased) == 202
        for deleted in (run.handle.id, f"{run.handle.id}.1"):
            await until_deleted(instance, deleted)
        return await start_shared_run(*arguments)

    monkeypatch.setattr(erasure, "start_shared_run", started_late)
    with pytest.raises(Unavailable):
        await instance.gateway.erasure.delete(late)
    await until_deleted(instance, f"{run.handle.id}.1")
    for erased in ("e0", "e1"):
        await until_gone(instance, erased)
    assert await erase(instance, "e2") == 202
    await until_gone(instance, "e2")
    assert (await instance.event("kept"))["status"] == "no_webhook"
