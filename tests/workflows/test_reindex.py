"""`Reindex` rebuilds the index from histories: what it writes into empty tables is what was there before."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from claimed_runs import share, until_listed
from crowds import crowd
from hookkeeper import ids
from hookkeeper.content.search_terms import Key
from hookkeeper.messages.run_report import first_report
from hookkeeper.policy import RetryPolicy
from hookkeeper.temporal.events import reindex
from hookkeeper.temporal.events.reindex import Reindex
from hookkeeper.temporal.events.shared_runs import first_state
from index_rows import all_rows, derived, empty, indexed, until_indexed
from instances import Instance
from receivers import Receiver
from shared_runs import event_to
from timeouts import WAIT_TIMEOUT

PATIENT, HASTY = RetryPolicy(schedule=(3600,)).model_dump(), RetryPolicy(schedule=()).model_dump()
OPEN = ("scheduled", "delivering")
HOUR_AGO = timedelta(hours=1)


def reindex_of(
    instance: Instance, progress: list[tuple[int, int]] | None = None, retention: timedelta = timedelta(days=30)
) -> Reindex:
    def keep(done: int, total: int) -> None:
        if progress is not None:
            progress.append((done, total))

    return Reindex(instance.temporal, instance.store, instance.settings.task_queue, retention, keep)


async def closed(instance: Instance, type_: str = "order.paid", **fields: Any) -> str:
    event = await instance.send(type_, **fields)
    await instance.until_closed(event["id"])
    return str(event["id"])


async def until_complete(instance: Instance, *event_ids: str) -> dict[str, list[dict[str, Any]]]:
    """Wait until API and worker have written what they report; return all rows."""
    for event_id in event_ids:
        await until_indexed(instance, event_id)
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            rows = await all_rows(instance)
            if all(event["size"] and (event["finished_at"] or event["status"] in OPEN) for event in rows["events"]):
                return rows
            await asyncio.sleep(0.1)


async def until_rebuilt(instance: Instance, wanted: dict[str, list[dict[str, Any]]], but: Collection[str] = ()) -> None:
    """Empty the index, and rebuild it, until all events are listed: visibility lags behind."""
    found: dict[str, list[dict[str, Any]]] = {}
    async with asyncio.timeout(WAIT_TIMEOUT):
        while len(found.get("events", ())) < len(wanted["events"]):
            await empty(instance)
            await reindex_of(instance).run(datetime.now(UTC) - HOUR_AGO)
            found = await all_rows(instance)
    for table, rows in wanted.items():
        # The rows of an open run have the time of its start, not that of its latest record.
        columns = {*rows[0]} - {"as_of", *but} if rows else set()
        assert [[row[name] for name in columns] for row in found[table]] == [
            [row[name] for name in columns] for row in rows
        ]


async def test_shared_runs(own_instance: Instance, inbox: Receiver) -> None:
    """Succeeded, without webhooks, retrying in a run of its own, redelivered. Their data have keys."""
    await own_instance.store.catalogue.set_search_keys(own_instance.tenant, ["order"])
    inbox.fails(503)
    webhook = await own_instance.webhook(inbox.url, retry=PATIENT)
    names = [f"e{n}" for n in range(3)]
    events = [*(event_to(webhook, id=name, tenant=own_instance.tenant) for name in names)]
    events.append(event_to(id="silent", tenant=own_instance.tenant))
    run = await share(own_instance, events)
    run_id = (await run.handle.describe()).run_id
    await own_instance.store.rows.write(
        [
            first_report(event, first_state(event), run.handle.id, run_id=run_id, keys=(Key("order", event.id),))
            for event in events
        ]
    )
    result = await run.result()
    (continued,) = result.continued
    redelivered = next(state.id for state in result.finished if state.id != "silent")
    await own_instance.command(redelivered, "redeliver")
    await own_instance.until_closed(redelivered)
    assert ids.event_of(continued)[1] in names
    rows = await until_complete(own_instance, *names, "silent")
    assert [row["shared_run"] for row in rows["events"] if row["id"] == "silent"] == [run.handle.id]
    await until_rebuilt(own_instance, rows)
    for event in events:
        stored = await own_instance.store.rows.inputs.find(event.tenant, event.id)
        assert stored and stored.event.data == event.data, "from the history, so it can be started again, and searched"


async def test_closed_events(own_instance: Instance, inbox: Receiver) -> None:
    """Succeeded, failed, without webhooks, cancelled, redelivered, scheduled."""
    await own_instance.store.catalogue.set_search_keys(own_instance.tenant, ["a"])
    await own_instance.webhook(inbox.url, retry=PATIENT, events=["order.*"])
    await own_instance.webhook(inbox.url, retry=HASTY, events=["user.*"])
    events = [await closed(own_instance, data={"a": "é"}), await closed(own_instance, "nothing.listens")]
    inbox.fails(503, 503)
    events += [await closed(own_instance, "user.created"), await closed(own_instance, "user.created")]
    await own_instance.command(events[-1], "redeliver")
    await own_instance.until(events[-1], "succeeded")
    await own_instance.until_closed(events[-1])
    inbox.fails(503)
    waiting = await own_instance.send()
    await own_instance.until_delivery(waiting["id"], "retrying", attempts=1)
    await own_instance.command(waiting["id"], "cancel")
    await own_instance.until_closed(waiting["id"])
    later = datetime.now(UTC) + timedelta(hours=1)
    scheduled = await own_instance.send(deliver_at=later.isoformat())
    await own_instance.until(scheduled["id"], "scheduled")
    await own_instance.command(scheduled["id"], "release")
    await own_instance.until_closed(scheduled["id"])
    rows = await until_complete(own_instance, *events, waiting["id"], scheduled["id"])
    assert [(row["event_id"], row["token"]) for row in rows["event_keys"]] == [(events[0], "raw:a:é")]
    await until_rebuilt(own_instance, rows)


async def test_a_large_event(own_instance: Instance, inbox: Receiver) -> None:
    """It fails in one part, and is redelivered there."""
    await crowd(own_instance, inbox.url, 130)
    inbox.fails(503)
    event_id = await closed(own_instance)
    await own_instance.command(event_id, "retry")
    await own_instance.until(event_id, "succeeded")
    await own_instance.until_closed(event_id)
    await until_rebuilt(own_instance, await until_complete(own_instance, event_id), but=("finished_at",))


async def test_a_complete_index_stays_as_it_is(own_instance: Instance, inbox: Receiver) -> None:
    await own_instance.webhook(inbox.url)
    event_id = await closed(own_instance)
    before = await until_complete(own_instance, event_id)
    assert await reindex_of(own_instance).run(datetime.now(UTC) - HOUR_AGO) == 0
    assert await all_rows(own_instance) == before


async def test_what_is_older_than_the_retention_is_not_counted_again(own_instance: Instance, inbox: Receiver) -> None:
    """Temporal keeps events for longer than the index, as in a namespace that `migrate` may not change."""
    webhook = await own_instance.webhook(inbox.url)
    event_id = await closed(own_instance)
    run = await share(own_instance, [event_to(webhook, id="e0", tenant=own_instance.tenant)])
    await run.result()
    for id_ in (event_id, "e0"):
        await until_indexed(own_instance, id_)
    await until_counted(own_instance, 1, "Completed")
    await until_listed(run)
    await own_instance.store.index.expire(datetime.now(UTC) + timedelta(minutes=1), timedelta(days=-1))
    before = await all_rows(own_instance)
    assert before["events"] == []
    reindex = reindex_of(own_instance, retention=timedelta())
    assert await reindex.run(datetime.now(UTC) - HOUR_AGO) == 0
    assert await all_rows(own_instance) == before


async def test_open_events_from_before(own_instance: Instance, inbox: Receiver) -> None:
    """Events that were open at the begin are rebuilt too, others not."""
    await own_instance.webhook(inbox.url, retry=PATIENT)
    before = await closed(own_instance)
    inbox.fails(503)
    event = await own_instance.send()
    await own_instance.until_delivery(event["id"], "retrying", attempts=1)
    await until_complete(own_instance, before, event["id"])
    await asyncio.sleep(0.1)
    since = datetime.now(UTC)
    await until_counted(own_instance, 2)
    await empty(own_instance)
    await reindex_of(own_instance).run(since)
    assert await indexed(own_instance, event["id"]) == derived(await own_instance.event(event["id"]))
    assert (await indexed(own_instance, before))["status"] is None


async def until_counted(instance: Instance, count: int, status: str | None = None) -> None:
    query = f"TaskQueue = '{instance.settings.task_queue}' AND WorkflowType = 'EventWorkflow'"
    query += f" AND ExecutionStatus = '{status}'" if status else ""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (await instance.temporal.count_workflows(query)).count < count:
            await asyncio.sleep(0.05)


async def test_an_interrupted_reindex_can_be_repeated(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was added before is only compared."""
    monkeypatch.setattr(reindex, "BATCH", 1)
    await own_instance.webhook(inbox.url)
    events = [await closed(own_instance) for _ in range(3)]
    await until_counted(own_instance, 3)
    await empty(own_instance)
    since = datetime.now(UTC) - HOUR_AGO

    class Interrupted(Exception):
        """As with Ctrl-C."""

    def interrupt(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise Interrupted

    queue, month = own_instance.settings.task_queue, timedelta(days=30)
    with pytest.raises(Interrupted):
        await Reindex(own_instance.temporal, own_instance.store, queue, month, interrupt).run(since)
    progress: list[tuple[int, int]] = []
    assert await reindex_of(own_instance, progress).run(since) == 1
    assert progress[-1] == (3, 3)
    for event_id in events:
        assert await indexed(own_instance, event_id) == derived(await own_instance.event(event_id))
