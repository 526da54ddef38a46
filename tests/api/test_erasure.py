"""Erasure: what Temporal keeps of an event goes; an open event must be cancelled first."""

import asyncio

import pytest
from problems import problem
from temporalio.service import RPCError

from house import House
from patience import PATIENCE
from receivers import Receiver


async def erase(home: House, event_id: str, tenant: str | None = None) -> tuple[int, dict[str, object]]:
    answer = await home.http.delete(f"/v1/events/{event_id}/data", params={"tenant": tenant or home.tenant})
    return answer.status_code, answer.json()


async def until_unknown(home: House, event_id: str) -> None:
    """Wait until the server has deleted the event."""
    async with asyncio.timeout(PATIENCE):
        while (await home.http.get(f"/v1/events/{event_id}", params={"tenant": home.tenant})).status_code != 404:
            await asyncio.sleep(0.05)


async def listed(home: House) -> list[str]:
    answer = await home.http.get("/v1/events", params={"tenant": home.tenant})
    return [item["id"] for item in answer.json()["items"]]


async def test_all_runs_of_a_finished_event_go(home: House, inbox: Receiver) -> None:
    """Setup: two events, one of them delivered twice. Timeline: that one is erased.
    What this proves: all its runs go, from lists too; the other stays; the id is free again; the log says who did it.
    """
    await home.webhook(inbox.url)
    erased, kept = [(await home.send(data={"name": "Ann"}))["id"] for _ in range(2)]
    for event_id in (erased, kept):
        await home.until_closed(event_id)
    assert (await home.command(erased, "redeliver")).status_code == 202
    await home.until_closed(erased)
    runs = [run.run_id async for run in home.temporal.list_workflows(f"WorkflowId = '{home.run(erased).id}'")]
    assert len(runs) == 2
    assert await erase(home, erased) == (202, {"id": erased, "runs": 2})
    await until_unknown(home, erased)
    async with asyncio.timeout(PATIENCE):
        while await listed(home) != [kept]:
            await asyncio.sleep(0.05)
    for run_id in runs:
        with pytest.raises(RPCError, match="not found"):
            await home.temporal.get_workflow_handle(home.run(erased).id, run_id=run_id).fetch_history()
    assert (await home.event(kept))["data"] == {"name": "Ann"}
    assert (await home.send(id=erased, data={"name": "Bob"}))["duplicate"] is False
    entries = (await home.http.get("/v1/audit", params={"tenant": home.tenant})).json()["items"]
    assert [entry["object_id"] for entry in entries if entry["action"] == "event.erase"] == [erased]


async def test_an_open_event_is_cancelled_first(home: House, inbox: Receiver) -> None:
    inbox.fails(500)
    await home.webhook(inbox.url, retry={"schedule": [3600]})
    event_id = (await home.send())["id"]
    await home.until_delivery(event_id, "retrying")
    status, body = await erase(home, event_id)
    assert (status, body["detail"]) == (409, "Cannot erase: the event is still open, cancel it first.")
    assert (await home.event(event_id))["status"] == "delivering"
    assert (await home.command(event_id, "cancel")).status_code == 202
    await home.until_closed(event_id)
    assert (await erase(home, event_id))[0] == 202
    await until_unknown(home, event_id)


async def test_an_event_that_is_unknown_or_somebody_elses(home: House) -> None:
    event_id = (await home.send())["id"]
    await home.until_closed(event_id)
    for asked, tenant in ((event_id, "another"), ("evt_unknown", home.tenant)):
        answer = await home.http.delete(f"/v1/events/{asked}/data", params={"tenant": tenant})
        problem(answer, 404)
    assert (await home.event(event_id))["id"] == event_id


async def test_erasing_twice_is_no_error(home: House) -> None:
    event_id = (await home.send())["id"]
    await home.until_closed(event_id)
    answers = await asyncio.gather(*(erase(home, event_id) for _ in range(4)))
    assert {status for status, _ in answers} <= {202, 404}
    assert 202 in {status for status, _ in answers}
    await until_unknown(home, event_id)


async def test_a_key_needs_the_scope(home: House) -> None:
    event_id = (await home.send())["id"]
    await home.until_closed(event_id)
    made = await home.http.post("/v1/keys", json={"name": "reader", "tenant": home.tenant, "scopes": ["events:read"]})
    headers = {"authorization": f"Bearer {made.json()['key']}"}
    answer = await home.http.delete(f"/v1/events/{event_id}/data", params={"tenant": home.tenant}, headers=headers)
    problem(answer, 403)
