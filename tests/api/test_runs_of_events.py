"""`GET /v1/events/{event_id}/run`: what the workflow says itself, beside what rows have."""

from typing import Any

from problems import problem

from crowds import crowd
from hookkeeper import ids
from instances import Instance
from receivers import Answer, Receiver


async def runs(instance: Instance, event_id: str) -> list[dict[str, Any]]:
    answer = await instance.http.get(f"/v1/events/{event_id}/run", params={"tenant": instance.tenant})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]  # type: ignore[no-any-return]


async def test_a_run_says_what_its_rows_have(instance: Instance, inbox: Receiver) -> None:
    """While it is open, after its end, and after a redelivery in a further run."""
    inbox.fails(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    event_id = (await instance.send())["id"]
    shown = await instance.until_delivery(event_id, "retrying", 1)
    (run,) = await runs(instance, event_id)
    assert (run["status"], run["deliveries"]) == ("RUNNING", shown["deliveries"])
    for command, status in (("cancel", "CANCELED"), ("redeliver", "COMPLETED")):
        assert (await instance.command(event_id, command)).status_code == 202
        shown = await instance.until_closed(event_id)
        (run,) = await runs(instance, event_id)
        assert (run["status"], run["run_id"], run["deliveries"]) == (status, shown["run_id"], shown["deliveries"])


async def test_the_runs_of_a_large_event_are_listed(instance: Instance, inbox: Receiver) -> None:
    await crowd(instance, inbox.url, 101)
    event_id = (await instance.send())["id"]
    await instance.until_closed(event_id)
    found = await runs(instance, event_id)
    assert [run["workflow_id"] for run in found] == [ids.run_of(instance.tenant, event_id, part) for part in (1, 2)]
    assert [len(run["deliveries"]) for run in found] == [100, 1]


async def test_an_unknown_event_has_none(instance: Instance) -> None:
    problem(await instance.http.get("/v1/events/unknown/run", params={"tenant": instance.tenant}), 404)


async def test_a_redelivery_is_shown_at_once(idle_instance: Instance, inbox: Receiver) -> None:
    """No worker runs when it is requested: the rows have it, before its run has recorded anything."""
    inbox.otherwise = Answer(500)
    async with idle_instance.working():
        await idle_instance.webhook(inbox.url, retry={"schedule": []})
        event_id = (await idle_instance.send())["id"]
        assert (await idle_instance.until_closed(event_id))["status"] == "failed"
    assert (await idle_instance.command(event_id, "redeliver")).status_code == 202
    shown = await idle_instance.event(event_id)
    assert (shown["status"], shown["deliveries"][0]["status"], shown["finished_at"]) == ("delivering", "pending", None)
    inbox.otherwise = Answer()
    async with idle_instance.working():
        assert (await idle_instance.until_closed(event_id))["status"] == "succeeded"
