"""The index follows every change of an event: what a run reports is what the API shows."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from claimed_runs import share
from crowds import crowd
from hookkeeper.messages.run_report import BEGINNING, RunReport
from hookkeeper.policy import RetryPolicy
from index_rows import indexed, until_indexed
from instances import Instance
from receivers import Answer, Receiver
from shared_runs import event_to

PATIENT = RetryPolicy(schedule=(3600,)).model_dump()


class RecordSpy:
    """Notes how many updates the history of a run has at each of its records."""

    def __init__(self, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records: list[tuple[RunReport, int]] = []
        self._instance = instance
        self._write = instance.store.rows.write
        monkeypatch.setattr(instance.store.rows, "write", self.write)

    async def write(self, reports: Sequence[RunReport]) -> object:
        rows = ((report, report.event) for report in reports)
        mine = ((report, row) for report, row in rows if row.tenant == self._instance.tenant and row.as_of > BEGINNING)
        for report, row in mine:
            run = row.shared_run
            handle = self._instance.temporal.get_workflow_handle(run) if run else self._instance.run(row.id)
            self.records.append((report, await updates(handle)))
        return await self._write(reports)


async def updates(run: WorkflowHandle[object, object]) -> int:
    """Count the updates in the history of a run."""
    accepted = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
    return sum(event.event_type == accepted for event in (await run.fetch_history()).events)


@pytest.mark.promise("docs/events.md")
async def test_a_command_is_in_the_history_before_it_is_in_the_rows(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local activity runs before its workflow task has ended. If Temporal died then, it would forget the command."""
    await instance.webhook(inbox.url, retry=PATIENT)
    inbox.otherwise = Answer(500)
    later = [(datetime.now(UTC) + timedelta(hours=hours)).isoformat() for hours in (1, 2)]
    for commands, times in (
        (("hold", "release"), {}),
        (("retry",), {}),
        (("redeliver",), {}),
        (("cancel",), {}),
        (("reschedule", "release"), {"deliver_at": later[0]}),
    ):
        event_id = (await instance.send(**times))["id"]
        await instance.until_delivery(event_id, "pending" if times else "retrying")
        await until_indexed(instance, event_id)
        spy = RecordSpy(instance, monkeypatch)
        for number, command in enumerate(commands, start=1):
            body = {"deliver_at": later[1]} if command == "reschedule" else {}
            path, query = f"/v1/events/{event_id}/{command}", {"tenant": instance.tenant}
            assert (await instance.http.post(path, params=query, json=body)).status_code == 202
            found = [in_history for report, in_history in spy.records if report.event.id == event_id]
            assert found[-1:] == [number], command
            assert min(found) > 0, command


async def test_what_else_a_run_records_in_the_same_step_waits_for_the_command(
    idle_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record has the status of its event, in which the command counts."""
    await idle_instance.webhook(inbox.url)
    event_id = (await idle_instance.send())["id"]
    spy = RecordSpy(idle_instance, monkeypatch)
    held = asyncio.create_task(idle_instance.run(event_id).execute_update("hold"))
    await asyncio.sleep(0.5)  # nothing shows that the server has the update
    async with idle_instance.working():
        await held
        await idle_instance.until_delivery(event_id, "held")
    assert any(report.event.needs_attention for report, _ in spy.records)
    assert all(in_history for report, in_history in spy.records if report.event.needs_attention)


async def test_a_command_to_a_shared_run_is_in_its_history_before_it_is_in_the_rows(
    idle_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = await idle_instance.webhook(inbox.url)
    gate = asyncio.Event()
    inbox.otherwise = Answer(gate=gate)
    spy = RecordSpy(idle_instance, monkeypatch)
    async with idle_instance.working():
        run = await share(idle_instance, [event_to(webhook, id="held", tenant=idle_instance.tenant)])
        await inbox.got(1)
        assert (await idle_instance.command("held", "hold")).status_code == 202
        assert [in_history for _, in_history in spy.records] == [1]
        gate.set()
        await run.result()


async def test_the_index_has_an_event_that_no_worker_has_started(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    event = await instance.send(data={"a": 1})
    await until_indexed(instance, event["id"])


@pytest.mark.promise("docs/events.md")
async def test_the_index_follows_success_and_failure(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    inbox.fails(200, 410)
    for _ in range(2):
        event = await instance.send()
        await instance.until_closed(event["id"])
        await until_indexed(instance, event["id"])


async def test_the_index_has_an_event_without_webhooks(instance: Instance) -> None:
    event = await instance.send()
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])


@pytest.mark.promise("docs/events.md")
async def test_the_index_follows_commands(instance: Instance, inbox: Receiver) -> None:
    """A delivery fails, is retried, fails, is held, released, cancelled, and delivered after all."""
    await instance.webhook(inbox.url, retry=PATIENT)
    inbox.fails(503, 500)
    event = await instance.send()
    await instance.until_delivery(event["id"], "retrying", attempts=1)
    await until_indexed(instance, event["id"])
    await instance.command(event["id"], "retry")
    await instance.until_delivery(event["id"], "retrying", attempts=2)
    await until_indexed(instance, event["id"])
    for command in ("hold", "release", "cancel"):
        await instance.command(event["id"], command)
        await until_indexed(instance, event["id"])
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])
    await instance.command(event["id"], "redeliver")
    await instance.until(event["id"], "succeeded")
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])


async def test_the_index_shows_a_redelivery_in_flight(idle_instance: Instance, inbox: Receiver) -> None:
    """Timeline: an event has succeeded, and is delivered again to a slow receiver; so is one that shared a run.
    Proves: its run reports that when it starts. Lists do not wait for the attempt to end.
    """
    webhook = await idle_instance.webhook(inbox.url)
    gate = asyncio.Event()
    async with idle_instance.working():
        await idle_instance.send(id="alone")
        await idle_instance.until_closed("alone")
        await (await share(idle_instance, [event_to(webhook, id="shared", tenant=idle_instance.tenant)])).result()
        inbox.otherwise = Answer(gate=gate)
        for name in ("alone", "shared"):
            await until_indexed(idle_instance, name)
            assert (await idle_instance.command(name, "redeliver")).status_code == 202
            await until_indexed(idle_instance, name)
            of_webhook = webhook["id"], "pending", 1, 200, None
            found = await indexed(idle_instance, name)
            assert (found["status"], found["deliveries"]) == ("delivering", {webhook["id"]: of_webhook})
        gate.set()


async def test_the_index_follows_a_scheduled_event(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    later = datetime.now(UTC) + timedelta(hours=1)
    event = await instance.send(deliver_at=later.isoformat())
    await instance.until(event["id"], "scheduled")
    await until_indexed(instance, event["id"])
    await instance.command(event["id"], "release")
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])


async def test_the_index_shows_a_delivery_held_by_a_paused_webhook(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url)
    assert (await instance.http.post(f"/v1/webhooks/{webhook['id']}/pause")).status_code == 200
    event = await instance.send()
    await instance.until_delivery(event["id"], "held")
    await until_indexed(instance, event["id"])
    assert (await instance.http.post(f"/v1/webhooks/{webhook['id']}/resume")).status_code == 200
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])


async def test_the_index_has_a_large_event_once(instance: Instance, inbox: Receiver) -> None:
    """The parts report the deliveries, and the event's own run reports the event."""
    inbox.fails(410)
    await crowd(instance, inbox.url, 130)
    event = await instance.send()
    await instance.until_closed(event["id"])
    await until_indexed(instance, event["id"])


async def test_the_index_follows_events_from_a_shared_run_into_their_own(instance: Instance, inbox: Receiver) -> None:
    """One succeeds, one is retried and one held while its attempt is in flight: the rows follow into their own runs."""
    webhook = await instance.webhook(inbox.url, retry=PATIENT)
    gate = asyncio.Event()
    inbox.otherwise = Answer(500, gate=gate)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(2)])
    await inbox.got(2)
    await run.command("e0", "hold")
    await until_indexed(instance, "e0")
    gate.set()
    inbox.otherwise = Answer()
    await run.result()
    for name, status in (("e0", "held"), ("e1", "retrying")):
        await instance.until_delivery(name, status, attempts=1)
        await until_indexed(instance, name)
        assert (await instance.command(name, "retry", webhook["id"])).status_code == 202
        await instance.until_closed(name)
        await until_indexed(instance, name)
    run = await share(instance, [event_to(webhook, id=f"e{n}", tenant=instance.tenant) for n in range(2, 5)])
    await run.result()
    for name in ("e2", "e3", "e4"):
        await until_indexed(instance, name)
