"""Erasure: what Temporal keeps of an event goes; an open event must be cancelled first."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from problems import problem
from temporalio.client import WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from claimed_runs import acceptance, share
from hookkeeper import ids
from hookkeeper.commands import Refused
from hookkeeper.messages.run_report import first_report
from hookkeeper.temporal.events.event_start import start_run
from hookkeeper.temporal.events.run_state import find_run, unstarted_state
from hookkeeper.temporal.server import error_translation
from index_rows import indexed, until_indexed
from instances import Instance
from receivers import Answer, Receiver
from shared_runs import event_to
from timeouts import WAIT_TIMEOUT


async def erase(instance: Instance, event_id: str, tenant: str | None = None) -> tuple[int, dict[str, object]]:
    answer = await instance.http.delete(f"/v1/events/{event_id}/data", params={"tenant": tenant or instance.tenant})
    return answer.status_code, answer.json()


async def until_unknown(instance: Instance, event_id: str) -> None:
    """Wait until the server has deleted the event."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (
            await instance.http.get(f"/v1/events/{event_id}", params={"tenant": instance.tenant})
        ).status_code != 404:
            await asyncio.sleep(0.05)


async def until_deleted(run: WorkflowHandle[Any, Any]) -> None:
    """Wait until the server has deleted the history of a run."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await has_history(run):
            await asyncio.sleep(0.05)


async def has_history(run: WorkflowHandle[Any, Any]) -> bool:
    try:
        await run.fetch_history()
    except RPCError as error:
        return error.status != RPCStatusCode.NOT_FOUND
    return True


async def listed(instance: Instance) -> list[str]:
    answer = await instance.http.get("/v1/events", params={"tenant": instance.tenant})
    return [item["id"] for item in answer.json()["items"]]


@pytest.mark.promise("docs/events.md")
async def test_erasing_an_event_deletes_all_its_runs(instance: Instance, inbox: Receiver) -> None:
    """Setup: two events, one of them delivered twice. Timeline: that one is erased.
    Proves: all its runs go, from lists too; the other stays; the id is free again; the log says who did it.
    """
    await instance.webhook(inbox.url)
    erased, kept = [(await instance.send(data={"name": "Ann"}))["id"] for _ in range(2)]
    for event_id in (erased, kept):
        await instance.until_closed(event_id)
    assert (await instance.command(erased, "redeliver")).status_code == 202
    await instance.until_closed(erased)
    runs = [run.run_id async for run in instance.temporal.list_workflows(f"WorkflowId = '{instance.run(erased).id}'")]
    assert len(runs) == 2
    assert await erase(instance, erased) == (202, {"id": erased, "runs": 2})
    await until_unknown(instance, erased)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while await listed(instance) != [kept]:
            await asyncio.sleep(0.05)
    for run_id in runs:
        await until_deleted(instance.temporal.get_workflow_handle(instance.run(erased).id, run_id=run_id))
    assert (await instance.event(kept))["data"] == {"name": "Ann"}
    assert (await instance.send(id=erased, data={"name": "Bob"}))["duplicate"] is False
    entries = (await instance.http.get("/v1/audit", params={"tenant": instance.tenant})).json()["items"]
    assert [entry["object_id"] for entry in entries if entry["action"] == "event.erase"] == [erased]


@pytest.mark.promise("docs/events.md")
async def test_the_file_of_the_registry_has_nothing_of_an_erased_event(own_instance: Instance, inbox: Receiver) -> None:
    """Its data, and what the receiver answered, are in its rows until then."""
    file = Path(own_instance.settings.database_url.removeprefix("sqlite+aiosqlite:///"))

    def canaries() -> list[bytes]:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        stored = b"".join(path.read_bytes() for path in file.parent.glob(f"{file.name}*"))
        return [word for word in (b"canary-of-data", b"canary-of-answer") if word in stored]

    inbox.otherwise = Answer(body="canary-of-answer")
    await own_instance.webhook(inbox.url)
    event_id = (await own_instance.send(data={"name": "canary-of-data"}))["id"]
    await own_instance.until_closed(event_id)
    assert canaries() == [b"canary-of-data", b"canary-of-answer"]
    await erase(own_instance, event_id)
    await until_unknown(own_instance, event_id)
    assert canaries() == []


@pytest.mark.promise("docs/events.md")
async def test_the_index_has_no_erased_event(instance: Instance, inbox: Receiver) -> None:
    """Its rows are gone; another's stay; an event with the same id is indexed again."""
    await instance.webhook(inbox.url)
    erased, kept = [(await instance.send())["id"] for _ in range(2)]
    for event_id in (erased, kept):
        await instance.until_closed(event_id)
        await until_indexed(instance, event_id)
    assert await erase(instance, erased) == (202, {"id": erased, "runs": 1})
    assert await indexed(instance, erased) == {"status": None, "type": None, "run_id": None, "deliveries": {}}
    await until_indexed(instance, kept)
    await until_unknown(instance, erased)
    await instance.send(id=erased)
    await instance.until_closed(erased)
    await until_indexed(instance, erased)


@pytest.mark.promise("docs/events.md")
async def test_an_open_event_cannot_be_erased(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying")
    status, body = await erase(instance, event_id)
    assert (status, body["detail"]) == (409, "Cannot erase: the event is still open, cancel it first.")
    assert (await instance.event(event_id))["status"] == "delivering"
    assert (await instance.command(event_id, "cancel")).status_code == 202
    await instance.until_closed(event_id)
    assert (await erase(instance, event_id))[0] == 202
    await until_unknown(instance, event_id)


@pytest.mark.parametrize("is_shared", [False, True])
async def test_an_erasure_fails_if_the_event_is_redelivered_meanwhile(
    instance: Instance, inbox: Receiver, is_shared: bool
) -> None:
    """Timeline: an erasure finds the runs of an event; a redelivery starts and ends; what was found is deleted.
    Proves: it does not report success while the redelivery's run has the data. A repetition deletes that too.
    """
    webhook = await instance.webhook(inbox.url)
    if is_shared:
        event = event_to(webhook, id="e0", tenant=instance.tenant)
        await (await share(instance, [event])).result()
    else:
        await instance.send(id="e0")
        await instance.until_closed("e0")
    found = await instance.gateway.erasure.find(instance.tenant, "e0")
    assert found
    assert (await instance.command("e0", "redeliver")).status_code == 202
    await instance.until_closed("e0")
    with pytest.raises(Refused):
        await instance.gateway.erasure.delete(found)
    assert (await erase(instance, "e0"))[0] == 202
    await until_unknown(instance, "e0")


@pytest.mark.promise("docs/events.md")
@pytest.mark.parametrize("is_shared", [False, True])
async def test_an_erased_event_cannot_be_redelivered(instance: Instance, inbox: Receiver, is_shared: bool) -> None:
    """Timeline: an event is erased, and redelivered before the server has deleted its runs, as by a recovery.
    Proves: it is unknown then: nothing is sent, and no run is started with its data.
    """
    webhook = await instance.webhook(inbox.url)
    if is_shared:
        event = event_to(webhook, id="e0", tenant=instance.tenant)
        await (await share(instance, [event])).result()
    else:
        await instance.send(id="e0")
        await instance.until_closed("e0")
    assert (await erase(instance, "e0"))[0] == 202
    problem(await instance.command("e0", "redeliver"), 404)
    await until_unknown(instance, "e0")
    assert (await instance.send(id="e0"))["duplicate"] is False
    await instance.until_final("e0")
    assert (await instance.command("e0", "redeliver")).status_code == 202
    await inbox.got(3)


async def test_an_event_that_is_unknown_or_of_another_tenant_cannot_be_erased(instance: Instance) -> None:
    event_id = (await instance.send())["id"]
    await instance.until_closed(event_id)
    for asked, tenant in ((event_id, "another"), ("evt_unknown", instance.tenant)):
        answer = await instance.http.delete(f"/v1/events/{asked}/data", params={"tenant": tenant})
        problem(answer, 404)
    assert (await instance.event(event_id))["id"] == event_id


async def test_an_event_that_only_the_index_has_can_be_erased(instance: Instance) -> None:
    """As after the restore of a backup of one of the databases."""
    event = event_to(id="evt_lost", tenant=instance.tenant)
    await instance.store.rows.write([first_report(event, unstarted_state(event), "", run_id="run")])
    assert await listed(instance) == ["evt_lost"]
    assert await erase(instance, "evt_lost") == (202, {"id": "evt_lost", "runs": 0})
    assert await listed(instance) == []
    assert (await erase(instance, "evt_lost"))[0] == 404


async def test_erasing_twice_is_no_error(instance: Instance) -> None:
    event_id = (await instance.send())["id"]
    await instance.until_closed(event_id)
    answers = await asyncio.gather(*(erase(instance, event_id) for _ in range(4)))
    assert {status for status, _ in answers} <= {202, 404}
    assert 202 in {status for status, _ in answers}
    await until_unknown(instance, event_id)


async def test_erasing_needs_its_scope(instance: Instance) -> None:
    event_id = (await instance.send())["id"]
    await instance.until_closed(event_id)
    made = await instance.http.post(
        "/v1/keys", json={"name": "reader", "tenant": instance.tenant, "scopes": ["events:read"]}
    )
    headers = {"authorization": f"Bearer {made.json()['key']}"}
    answer = await instance.http.delete(
        f"/v1/events/{event_id}/data", params={"tenant": instance.tenant}, headers=headers
    )
    problem(answer, 403)


async def test_an_event_can_be_started_while_the_server_deletes_its_earlier_run(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: a start is refused because of an earlier run; that run is deleted before it can be read.
    Proves: the event is started in its place.
    """
    webhook = await instance.webhook(inbox.url)
    event = event_to(webhook, id="e0", tenant=instance.tenant)
    await instance.store.rows.accept([acceptance(event, None)])
    earlier = await instance.gateway.runs.start(event)
    await instance.until_closed("e0")

    async def refused(*arguments: Any) -> str:
        try:
            return await start_run(*arguments)
        except WorkflowAlreadyStartedError:
            assert (await erase(instance, "e0"))[0] == 202
            async with asyncio.timeout(2 * WAIT_TIMEOUT):  # a deletion waits for tasks of other tests' runs
                while await find_run(instance.temporal, ids.workflow_id(instance.tenant, "e0")):
                    await asyncio.sleep(0.05)
            raise

    monkeypatch.setattr("hookkeeper.temporal.events.event_runs.start_run", refused)
    monkeypatch.setattr(error_translation, "OPERATION_TIMEOUT", 2.5 * WAIT_TIMEOUT)  # with the deletion
    again = await instance.gateway.runs.start(event)
    assert again != earlier
    await instance.store.rows.accept([acceptance(event, None)])
    await instance.until_closed("e0")
