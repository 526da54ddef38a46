"""How a run behaves: real Temporal server, real worker, real receivers, driven through the API."""

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from standardwebhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from hookkeeper.registry.events.rows import EventSnapshot
from instances import Instance, without_registry
from receivers import Answer, Receiver, receiver
from timeouts import WAIT_TIMEOUT, pauses
from workflows.event import MAX_HISTORY_EVENTS

UPDATES_OF_A_RUN = 2_000
"""That Temporal accepts; an update leaves at least two events in the history."""


def codes(event: dict[str, Any], n: int = 0) -> list[int | None]:
    return [attempt["status_code"] for attempt in event["deliveries"][n]["attempts"]]


@pytest.mark.promise("docs/payloads.md")
async def test_a_request_verifies_with_the_official_libraries(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url, events=["order.*"])
    data = {"z": 1, "a": {"é": "ü 😀", "n": [1.5, 12345678901234567890123, None, True]}}
    accepted = await instance.send("order.paid", data=data)
    event = await instance.until_final(accepted["id"])

    assert event["status"] == "succeeded"
    (request,) = inbox.requests
    body = json.loads(request.body)
    assert body == {"id": event["id"], "type": "order.paid", "timestamp": event["timestamp"], "data": data}
    assert list(body["data"]) == ["z", "a"]
    assert Webhook(webhook["secret"]).verify(request.body.decode(), request.headers) == body
    SvixWebhook(webhook["secret"]).verify(request.body, request.headers)  # raises where it does not
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Hookkeeper/")


@pytest.mark.promise("README.md")
async def test_a_delivery_is_retried_until_it_succeeds(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(503, 500)
    webhook = await instance.webhook(inbox.url, retry={"schedule": [0.2, 1.1]})
    event = await instance.until_final((await instance.send())["id"])

    assert event["status"] == "succeeded"
    assert codes(event) == [503, 500, 200]
    attempts = event["deliveries"][0]["attempts"]
    assert [attempt["number"] for attempt in attempts] == [1, 2, 3]
    assert [attempt["error"] for attempt in attempts] == ["http_503", "http_500", None]
    assert attempts[0]["response_excerpt"] == "answer 503"
    assert {request.webhook_id for request in inbox.requests} == {event["id"]}
    stamps = [int(request.headers["webhook-timestamp"]) for request in inbox.requests]
    assert stamps[2] > stamps[0], "the timestamp is the attempt's"
    for request in inbox.requests:
        Webhook(webhook["secret"]).verify(request.body.decode(), request.headers)


@pytest.mark.promise("docs/retries.md")
async def test_a_delivery_fails_after_its_schedule_and_no_attempt_is_early(
    idle_instance: Instance, inbox: Receiver
) -> None:
    schedule = [1, 2, 4]
    inbox.otherwise = Answer(500, "no, thanks")
    async with idle_instance.working():
        await idle_instance.webhook(inbox.url, retry={"schedule": schedule})
        accepted = await idle_instance.send()
        await idle_instance.until_final(accepted["id"])

    # The worker is gone: the log of a closed run needs none.
    event = await idle_instance.event(accepted["id"])
    assert event["status"] == "failed"
    delivery = event["deliveries"][0]
    assert (delivery["status"], delivery["reason"]) == ("failed", "exhausted")
    assert [
        (attempt["status_code"], attempt["error"], attempt["response_excerpt"], attempt["trigger"])
        for attempt in delivery["attempts"]
    ] == [(500, "http_500", "no, thanks", "scheduled")] * 4
    assert all(attempt["duration_ms"] > 0 for attempt in delivery["attempts"])
    arrivals = [request.at for request in inbox.requests]
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert len(gaps) == 3
    for gap, step in zip(gaps, schedule, strict=True):
        assert step <= gap < step * 1.1 + 5.0  # a busy machine makes an attempt late
    run = await idle_instance.run(accepted["id"]).describe()
    assert run.status == WorkflowExecutionStatus.FAILED


@pytest.mark.promise("docs/retries.md")
async def test_one_failing_webhook_leaves_the_others_alone(instance: Instance, inbox: Receiver) -> None:
    async with receiver() as failing, receiver() as second:
        failing.otherwise = Answer(500)
        for endpoint in (inbox, failing, second):
            await instance.webhook(endpoint.url, retry={"schedule": [0.1, 0.1]})
        event = await instance.until_final((await instance.send())["id"])
        assert (len(inbox.requests), len(failing.requests), len(second.requests)) == (1, 3, 1)
    assert event["status"] == "failed"
    assert [delivery["status"] for delivery in event["deliveries"]] == ["succeeded", "failed", "succeeded"]


async def test_an_event_without_a_matching_webhook_is_in_the_log(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url, events=["invoice.*"])
    event = await instance.until_final((await instance.send("order.paid"))["id"])
    assert event["status"] == "no_webhook"
    assert event["deliveries"] == []
    assert inbox.requests == []


@pytest.mark.promise("docs/pause-and-recovery.md")
async def test_a_disabled_webhook_holds_a_delivery_until_it_is_released(instance: Instance, inbox: Receiver) -> None:
    webhook = await instance.webhook(inbox.url, enabled=False)
    accepted = await instance.send()
    event = await instance.until_delivery(accepted["id"], "held")
    assert event["deliveries"][0]["reason"] == "webhook_disabled"
    assert inbox.requests == []

    await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"enabled": True})
    assert (await instance.command(accepted["id"], "release")).status_code == 202
    assert (await instance.until_final(accepted["id"]))["status"] == "succeeded"
    assert len(inbox.requests) == 1


@pytest.mark.promise("docs/retries.md")
async def test_a_deleted_webhook_cancels_its_deliveries(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    webhook = await instance.webhook(inbox.url, retry={"schedule": [3600]})
    accepted = await instance.send()
    await instance.until_delivery(accepted["id"], "retrying", 1)
    assert (await instance.http.delete(f"/v1/webhooks/{webhook['id']}")).status_code == 204
    assert (await instance.command(accepted["id"], "retry")).status_code == 202
    event = await instance.until_final(accepted["id"])
    assert (event["status"], event["deliveries"][0]["reason"]) == ("cancelled", "webhook_deleted")
    assert len(inbox.requests) == 1


@pytest.mark.promise("docs/retries.md")
async def test_a_corrected_url_and_a_new_secret_count_at_the_next_attempt(instance: Instance, inbox: Receiver) -> None:
    """They are changed during the first attempt, so that the next one is made later on a slow machine too."""
    is_changed = asyncio.Event()
    inbox.otherwise = Answer(500, gate=is_changed)
    async with receiver() as right:
        webhook = await instance.webhook(inbox.url, retry={"schedule": [0.4]})
        accepted = await instance.send()
        await inbox.got(1)
        await instance.http.patch(f"/v1/webhooks/{webhook['id']}", json={"url": right.url})
        rotated = (await instance.http.post(f"/v1/webhooks/{webhook['id']}/rotate-secret", json={"grace": 60})).json()
        is_changed.set()
        event = await instance.until_final(accepted["id"])
        assert event["status"] == "succeeded"
        assert event["deliveries"][0]["target"] == right.url
        (request,) = right.requests
        for secret in (webhook["secret"], rotated["secret"]):
            Webhook(secret).verify(request.body.decode(), request.headers)
        assert rotated["secret"] != webhook["secret"]


@pytest.mark.promise("docs/events.md")
@pytest.mark.parametrize("size", [1_000, 100_000])
async def test_every_attempt_sends_the_data_that_was_accepted(instance: Instance, inbox: Receiver, size: int) -> None:
    inbox.fails(500, 500)
    await instance.webhook(inbox.url, retry={"schedule": [0, 0]})
    accepted = await instance.send(data={"text": "x" * size})
    await instance.until_final(accepted["id"])
    bodies = {request.body for request in inbox.requests}
    assert len(inbox.requests) == 3
    assert len(bodies) == 1
    assert json.loads(bodies.pop())["data"] == {"text": "x" * size}
    history = (await instance.run(accepted["id"]).fetch_history()).to_json()
    assert len(history) < 4 * size + 60_000, "a body is not copied once per attempt"


# Commands


@pytest.mark.promise("README.md")
async def test_a_forced_retry_happens_at_once_and_leaves_the_schedule(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500, 500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    accepted = await instance.send()
    before = await instance.until_delivery(accepted["id"], "retrying", 1)

    assert (await instance.command(accepted["id"], "retry")).status_code == 202
    after = await instance.until_delivery(accepted["id"], "retrying", 2)
    assert [attempt["trigger"] for attempt in after["deliveries"][0]["attempts"]] == ["scheduled", "manual"]
    assert after["deliveries"][0]["next_attempt_at"] == before["deliveries"][0]["next_attempt_at"]

    assert (await instance.command(accepted["id"], "retry", after["deliveries"][0]["id"])).status_code == 202
    event = await instance.until_final(accepted["id"])
    assert event["status"] == "succeeded"
    assert [attempt["number"] for attempt in event["deliveries"][0]["attempts"]] == [1, 2, 3]


@pytest.mark.promise("docs/retries.md")
async def test_a_forced_retry_waits_for_the_attempt_under_way(instance: Instance, inbox: Receiver) -> None:
    inbox.answers = [Answer(500), Answer(500, delay=0.7)]
    await instance.webhook(inbox.url, retry={"schedule": [0, 3600]})
    accepted = await instance.send()
    await inbox.got(2)
    assert (await instance.command(accepted["id"], "retry")).status_code == 202
    event = await instance.until_final(accepted["id"])
    assert [attempt["trigger"] for attempt in event["deliveries"][0]["attempts"]] == [
        "scheduled",
        "scheduled",
        "manual",
    ]
    assert inbox.requests[2].at - inbox.requests[1].at >= 0.7


@pytest.mark.promise("docs/steering.md")
async def test_cancel_stops_one_delivery_or_all(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    for _ in range(2):
        await instance.webhook(inbox.url, retry={"schedule": [3600]})
    accepted = await instance.send()
    first, second = [delivery["id"] for delivery in accepted["deliveries"]]
    await instance.until_delivery(accepted["id"], "retrying", 1, n=1)

    assert (await instance.command(accepted["id"], "cancel", first)).status_code == 202
    event = await instance.until_delivery(accepted["id"], "cancelled")
    assert event["status"] == "delivering"
    assert (await instance.command(accepted["id"], "cancel", first)).status_code == 409
    assert (await instance.command(accepted["id"], "cancel")).status_code == 202
    event = await instance.until_final(accepted["id"])
    assert event["status"] == "cancelled"
    assert {delivery["id"]: delivery["status"] for delivery in event["deliveries"]} == {
        first: "cancelled",
        second: "cancelled",
    }
    await instance.until_cancelled(accepted["id"])


async def test_a_run_that_is_terminated_before_its_first_step_has_cancelled_its_event(idle_instance: Instance) -> None:
    """Its history is as long as that of a run with a step, because of a signal; but it cannot be queried."""
    await idle_instance.webhook("https://acme.example/hook")
    event_id = (await idle_instance.send())["id"]
    run = idle_instance.run(event_id)
    await run.signal("hold")
    await run.terminate()
    assert await idle_instance.gateway.runs.repair(idle_instance.tenant, event_id)
    event = await idle_instance.event(event_id)
    assert (event["status"], [delivery["status"] for delivery in event["deliveries"]]) == ("cancelled", ["cancelled"])


async def test_the_state_of_a_cancelled_run_needs_no_worker(idle_instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500, "broken")
    async with idle_instance.working():
        await idle_instance.webhook(inbox.url, retry={"schedule": [3600]})
        accepted = await idle_instance.send()
        await idle_instance.until_delivery(accepted["id"], "retrying", 1)
        await idle_instance.command(accepted["id"], "cancel")
        await idle_instance.until_cancelled(accepted["id"])
    event = await idle_instance.event(accepted["id"])
    assert (event["status"], codes(event)) == ("cancelled", [500])


@pytest.mark.promise("docs/steering.md")
async def test_cancelling_the_workflow_in_temporal_cancels_its_deliveries(instance: Instance, inbox: Receiver) -> None:
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    accepted = await instance.send()
    await instance.until_delivery(accepted["id"], "retrying", 1)
    await instance.run(accepted["id"]).cancel()
    await instance.until_cancelled(accepted["id"])
    event = await instance.event(accepted["id"])
    assert (event["status"], event["deliveries"][0]["status"], codes(event)) == ("cancelled", "cancelled", [500])


@pytest.mark.promise("docs/guarantees.md")
@pytest.mark.parametrize("delay", [0.6, 12])
async def test_the_outcome_of_a_request_sent_before_a_cancel_counts(
    instance: Instance, inbox: Receiver, delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the answer takes longer than the heartbeat timeout of 10 s."""
    monkeypatch.setattr("activities.heartbeat.HEARTBEAT_FRACTION", 0.05)
    inbox.answers = [Answer(200, delay=delay)]
    await instance.webhook(inbox.url)
    accepted = await instance.send()
    await inbox.got(1)
    assert (await instance.command(accepted["id"], "cancel")).status_code == 202
    event = await instance.until_final(accepted["id"])
    assert event["status"] == "succeeded"
    assert codes(event) == [200]


async def test_a_cancel_ends_an_activity_that_cannot_do_its_work(idle_instance: Instance, inbox: Receiver) -> None:
    await idle_instance.webhook(inbox.url)
    accepted = await idle_instance.send()
    run = idle_instance.run(accepted["id"])
    async with AsyncExitStack() as working:
        async with without_registry(idle_instance):
            await working.enter_async_context(idle_instance.working())
            await asyncio.sleep(0.5)  # it fails, and is tried again and again
            assert (await idle_instance.command(accepted["id"], "cancel")).status_code == 503, "its row is not found"
            await run.signal("cancel")
            await idle_instance.until_in_history(accepted["id"], EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED)
        event = await idle_instance.until_final(accepted["id"])
    assert (event["status"], event["deliveries"][0]["attempts"], inbox.requests) == ("cancelled", [], [])


async def test_an_internal_error_during_a_cancel_does_not_block_the_run(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """The receiver says 410 to a request that is being cancelled, and the registry is unreachable."""
    inbox.answers = [Answer(410, gate=(gate := asyncio.Event()))]
    await idle_instance.webhook(inbox.url)
    accepted = await idle_instance.send()
    run = idle_instance.run(accepted["id"])
    async with idle_instance.working():
        await inbox.got(1)
        assert (await idle_instance.command(accepted["id"], "cancel")).status_code == 202
        async with without_registry(idle_instance):
            gate.set()
            async with asyncio.timeout(WAIT_TIMEOUT):
                while (await run.describe()).raw_description.pending_activities:
                    await asyncio.sleep(0.05)
        assert (await idle_instance.until_final(accepted["id"]))["status"] == "cancelled"


@pytest.mark.promise("docs/steering.md")
async def test_a_held_delivery_is_not_attempted_until_it_is_released(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, retry={"schedule": [5]})
    accepted = await instance.send()
    retrying = await instance.until_delivery(accepted["id"], "retrying", 1)
    due = datetime.fromisoformat(retrying["deliveries"][0]["next_attempt_at"])
    assert (await instance.command(accepted["id"], "hold")).status_code == 202
    held = await instance.until_delivery(accepted["id"], "held")
    assert held["deliveries"][0]["next_attempt_at"] is None
    assert (await instance.command(accepted["id"], "hold")).status_code == 409
    await asyncio.sleep((due - datetime.now(UTC)).total_seconds() + 0.5)
    assert len(inbox.requests) == 1, "a held delivery stays"
    assert (await instance.command(accepted["id"], "release")).status_code == 202
    assert (await instance.until_final(accepted["id"]))["status"] == "succeeded"


async def test_an_event_takes_any_number_of_commands(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal accepts 2,000 updates of a run: a held event with as many could not be released any more."""
    assert MAX_HISTORY_EVENTS <= UPDATES_OF_A_RUN, "an update is two events, accepted and completed"
    monkeypatch.setattr("workflows.event.MAX_HISTORY_EVENTS", 40)
    inbox.fails(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    event_id = (await instance.send())["id"]
    first = await instance.until_delivery(event_id, "retrying")
    for _ in range(10):
        for command in ("hold", "release"):
            assert (await instance.command(event_id, command)).status_code == 202
    event = await instance.event(event_id)
    assert (event["deliveries"][0]["status"], len(event["deliveries"][0]["attempts"])) == ("retrying", 1)
    assert event["run_id"] != first["run_id"]
    assert (await instance.run(event_id).describe()).history_length < 60
    assert (await instance.command(event_id, "retry")).status_code == 202
    assert (await instance.until_final(event_id))["status"] == "succeeded"


async def test_a_cancellation_counts_that_comes_before_the_run_continues_as_new(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: a long run waits for its record, as the registry is away; it is cancelled in Temporal."""
    instance = own_instance
    inbox.fails(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    event_id = (await instance.send())["id"]
    await instance.until_delivery(event_id, "retrying")
    length = (await instance.run(event_id).describe()).history_length
    async with without_registry(instance):
        monkeypatch.setattr("workflows.event.MAX_HISTORY_EVENTS", length)
        await instance.run(event_id).signal("hold")
        await instance.until_in_history(event_id, EventType.EVENT_TYPE_TIMER_CANCELED)
        await instance.run(event_id).cancel()
    assert (await instance.until_final(event_id))["status"] == "cancelled"
    await instance.until_cancelled(event_id)


@pytest.mark.promise("docs/steering.md")
@pytest.mark.parametrize(("signal", "status"), [("retry", "succeeded"), ("cancel", "cancelled")])
async def test_a_signal_does_what_its_command_does(
    instance: Instance, inbox: Receiver, signal: str, status: str
) -> None:
    inbox.fails(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    accepted = await instance.send()
    await instance.until_delivery(accepted["id"], "retrying", 1)
    await instance.run(accepted["id"]).signal(signal, "wh_unknown")  # makes no sense: ignored
    await instance.run(accepted["id"]).signal(signal)
    assert (await instance.until_final(accepted["id"]))["status"] == status


@pytest.mark.promise("docs/steering.md")
async def test_redelivery_after_the_end_is_a_new_run_of_the_same_event(instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500, 500)
    await instance.webhook(inbox.url, retry={"schedule": [0]})
    async with receiver() as healthy:
        await instance.webhook(healthy.url)
        accepted = await instance.send()
        failed = await instance.until_final(accepted["id"])
        assert failed["status"] == "failed"
        assert (await instance.command(accepted["id"], "retry")).status_code == 202
        event = await instance.until(accepted["id"], "succeeded")

        assert event["workflow_id"] == failed["workflow_id"]
        assert event["run_id"] != failed["run_id"]
        assert codes(event) == [500, 500, 200]
        assert [attempt["trigger"] for attempt in event["deliveries"][0]["attempts"]] == [
            "scheduled",
            "scheduled",
            "manual",
        ]
        assert {request.webhook_id for request in inbox.requests} == {event["id"]}
        assert len(healthy.requests) == 1, "what had succeeded is left alone"
        assert event["accepted_at"] == failed["accepted_at"]

        assert (await instance.command(accepted["id"], "retry")).status_code == 409
        assert (await instance.command(accepted["id"], "redeliver", event["deliveries"][1]["id"])).status_code == 202
        await healthy.got(2)
        again = await instance.until(accepted["id"], "succeeded")
        assert codes(again, 1) == [200, 200]
    duplicate = await instance.send(id=accepted["id"])
    assert duplicate["duplicate"] is True


@pytest.mark.promise("docs/steering.md")
async def test_a_final_delivery_of_an_open_run_can_be_reopened(instance: Instance, inbox: Receiver) -> None:
    async with receiver() as failing:
        failing.otherwise = Answer(500)
        await instance.webhook(inbox.url)
        await instance.webhook(failing.url, retry={"schedule": [3600]})
        accepted = await instance.send()
        await instance.until_delivery(accepted["id"], "succeeded", 1)
        first = accepted["deliveries"][0]["id"]
        assert (await instance.command(accepted["id"], "retry", first)).status_code == 409
        assert (await instance.command(accepted["id"], "redeliver", first)).status_code == 202
        await inbox.got(2)
        event = await instance.until_delivery(accepted["id"], "succeeded", 2)
        assert event["status"] == "delivering"


async def test_a_redelivery_of_a_run_that_is_about_to_end_is_not_lost(instance: Instance, inbox: Receiver) -> None:
    """A cancelled run has its final state a moment before it closes: what is taken in that moment must happen."""
    inbox.otherwise = Answer(500)
    await instance.webhook(inbox.url, retry={"schedule": [3600]})
    accepted = [await instance.send() for _ in range(8)]
    for accepted_event in accepted:
        await instance.until_delivery(accepted_event["id"], "retrying", 1)
    inbox.otherwise = Answer(200)

    async def cancel_and_redeliver(event_id: str) -> None:
        assert (await instance.command(event_id, "cancel")).status_code == 202
        assert (await instance.command(event_id, "redeliver")).status_code == 202
        event = await instance.until(event_id, "succeeded")
        assert codes(event) == [500, 200]

    await asyncio.gather(*(cancel_and_redeliver(accepted_event["id"]) for accepted_event in accepted))


# Scheduled events


async def test_a_scheduled_event_waits_for_its_time(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    deliver_at = datetime.now(UTC) + timedelta(seconds=5)
    accepted = await instance.send(deliver_at=deliver_at.isoformat())
    assert accepted["status"] == "scheduled"
    assert (await instance.event(accepted["id"]))["status"] == "scheduled"
    event = await instance.until_final(accepted["id"])
    assert event["status"] == "succeeded"
    assert datetime.fromisoformat(event["deliveries"][0]["attempts"][0]["started_at"]) >= deliver_at - timedelta(
        milliseconds=1
    )


async def until_listed_for(instance: Instance, event_id: str, deliver_at: str) -> None:
    """Wait until lists show the event with this time."""
    query = {"tenant": instance.tenant, "status": "scheduled"}
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            listed = (await instance.http.get("/v1/events", params=query)).json()["items"]
            if (event_id, deliver_at) in {(item["id"], item["deliver_at"]) for item in listed}:
                return
            await asyncio.sleep(0.1)


@pytest.mark.promise("docs/events.md")
async def test_a_scheduled_event_can_be_moved_released_and_cancelled(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    far, farther = (datetime.now(UTC) + timedelta(days=days) for days in (1, 2))
    moved, cancelled = [await instance.send(deliver_at=far.isoformat()) for _ in range(2)]

    assert (await instance.command(moved["id"], "retry")).status_code == 409
    answer = await instance.http.post(
        f"/v1/events/{moved['id']}/reschedule",
        params={"tenant": instance.tenant},
        json={"deliver_at": farther.isoformat()},
    )
    assert answer.status_code == 202
    event = await instance.event(moved["id"])
    assert datetime.fromisoformat(event["deliver_at"]) == farther.replace(
        microsecond=farther.microsecond // 1000 * 1000
    )
    await until_listed_for(instance, moved["id"], event["deliver_at"])
    assert inbox.requests == []
    assert (await instance.command(moved["id"], "release")).status_code == 202
    assert (await instance.until_final(moved["id"]))["status"] == "succeeded"

    assert (await instance.command(cancelled["id"], "cancel")).status_code == 202
    assert (await instance.until_final(cancelled["id"]))["status"] == "cancelled"
    assert len(inbox.requests) == 1
    answer = await instance.http.post(
        f"/v1/events/{moved['id']}/reschedule", params={"tenant": instance.tenant}, json={"deliver_at": far.isoformat()}
    )
    assert answer.status_code == 409


async def test_a_time_without_a_zone_is_refused(instance: Instance, inbox: Receiver) -> None:
    """The API takes none, but Temporal's own tools send what they are given."""
    await instance.webhook(inbox.url)
    deliver_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    event_id = (await instance.send(deliver_at=deliver_at))["id"]
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await instance.run(event_id).execute_update("reschedule", "2030-01-01T00:00:00")
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "Refused"
    assert datetime.fromisoformat((await instance.event(event_id))["deliver_at"]) < datetime(2030, 1, 1, tzinfo=UTC)


async def test_a_redelivery_beside_another_one_keeps_all_attempts(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: a redelivery reads the event; another one starts and ends; the first one goes on.
    Proves: it reads the event again. So the log has all attempts, each with its own number.
    """
    await instance.webhook(inbox.url)
    event_id = (await instance.send())["id"]
    await instance.until_closed(event_id)
    rows = instance.store.rows
    read = rows.read

    async def read_slowly(*arguments: Any) -> EventSnapshot | None:
        snapshot = await read(*arguments)
        monkeypatch.setattr(rows, "read", read)
        assert (await instance.command(event_id, "redeliver")).status_code == 202
        await instance.until_closed(event_id)
        return snapshot

    monkeypatch.setattr(rows, "read", read_slowly)
    assert (await instance.command(event_id, "redeliver")).status_code == 202
    event = await instance.until_closed(event_id)
    assert [attempt["number"] for attempt in event["deliveries"][0]["attempts"]] == [1, 2, 3]
    assert len(inbox.requests) == 3


async def test_a_redelivery_of_a_cancelled_scheduled_event_is_made_at_once(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    accepted = await instance.send(deliver_at=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    assert (await instance.command(accepted["id"], "cancel")).status_code == 202
    assert (await instance.until_final(accepted["id"]))["status"] == "cancelled"
    assert (await instance.command(accepted["id"], "redeliver")).status_code == 202
    event = await instance.until(accepted["id"], "succeeded")
    assert codes(event) == [200]


# Internal errors


@pytest.mark.promise("docs/guarantees.md")
async def test_internal_errors_cost_no_attempt(
    idle_instance: Instance, inbox: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has a sentence for each activity that meets the outage: a traceback of 11 KB would hide all else."""
    await idle_instance.webhook(inbox.url, retry={"schedule": []})
    accepted = await idle_instance.send()
    async with AsyncExitStack() as working:
        async with without_registry(idle_instance):
            await working.enter_async_context(idle_instance.working())
            async with asyncio.timeout(WAIT_TIMEOUT):
                async for _ in pauses():
                    described = await idle_instance.run(accepted["id"]).describe()
                    if any(
                        activity.HasField("last_failure") for activity in described.raw_description.pending_activities
                    ):
                        break
            (pending,) = described.raw_description.pending_activities
            assert pending.last_failure.application_failure_info.type == "RegistryUnavailable"
        event = await idle_instance.until_final(accepted["id"])
    assert (event["status"], codes(event)) == ("succeeded", [200])
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.promise("README.md")
async def test_a_run_survives_the_death_of_its_worker(idle_instance: Instance, inbox: Receiver) -> None:
    inbox.fails(500)
    await idle_instance.webhook(inbox.url, retry={"schedule": [0.3]})
    accepted = await idle_instance.send()
    assert inbox.requests == [], "there is no worker yet, and the event is accepted all the same"
    async with idle_instance.working():
        await inbox.got(1)
        await idle_instance.until_in_history(accepted["id"], EventType.EVENT_TYPE_TIMER_STARTED)
    await idle_instance.until_in_history(accepted["id"], EventType.EVENT_TYPE_TIMER_FIRED)
    async with idle_instance.working():
        event = await idle_instance.until_final(accepted["id"])
    assert (event["status"], codes(event)) == ("succeeded", [500, 200])
