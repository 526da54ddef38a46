"""Temporal is away for longer than the heartbeat timeout: a request whose outcome is known is not sent again."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from instances import Instance, running_instance
from mail_servers import KEY, sendgrid_server
from receivers import Answer, Receiver, receiver
from temporal_processes import TemporalProcess, temporal_process

pytestmark = pytest.mark.processes

STOPS = 2
ROUNDS = 3
HEARTBEAT_TIMEOUT = timedelta(seconds=4)
"""Ten seconds outside of tests: the receiver would have to wait for longer than an attempt may take."""
TOO_LONG = 5.0
"""Seconds; an activity times out after that time without a heartbeat."""


async def tries(instance: Instance, event_id: str) -> list[int]:
    """Return for each activity of the run which of its tries was the last."""
    history = await instance.run(event_id).fetch_history()
    started = [event.activity_task_started_event_attributes for event in history.events]
    return [attributes.attempt for attributes in started if attributes.attempt]


async def test_a_request_sent_while_temporal_was_away_is_not_sent_again(
    tmp_path: Path, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setup: two webhooks, an email and a notification of one event. Timeline: all four requests arrive; the server is
    suspended; three of them are answered, the fourth only when the server is back and has had its activity tried again.
    Proves: each is made once, whether its answer was known when the next try came or still to come.
    """
    monkeypatch.setattr("workflows.dispatch.FIRST_HEARTBEAT_TIMEOUT", HEARTBEAT_TIMEOUT)
    settings = {"sendgrid_api_key": SecretStr(KEY), "email_from": "hooks@shop.example"}
    async with (
        temporal_process() as temporal,
        sendgrid_server() as sendgrid,
        receiver() as slow,
        receiver() as notes,
        running_instance(temporal.client, tmp_path, sendgrid_host=sendgrid.host, **settings) as instance,
        instance.working(),
    ):
        await instance.webhook(
            inbox.url,
            emails=[{"to": ["ann@acme.example"], "subject": "Paid", "text": "Thank you"}],
            notifications=[{"http": {"url": notes.url}}],
        )
        await instance.webhook(slow.url, timeout=30)
        all_requests = [inbox.requests, slow.requests, notes.requests, sendgrid.requests]
        # A heartbeat in flight can come to the server before its timer does: then nothing is tried again.
        for round_ in range(1, ROUNDS + 1):
            inbox.answers, notes.answers = [Answer(delay=1)], [Answer(delay=1)]
            slow.answers, sendgrid.answers = [Answer(gate=(gate := asyncio.Event()))], [Answer(202, delay=1)]
            event_id = (await instance.send())["id"]
            async with asyncio.timeout(60):
                while min(map(len, all_requests)) < round_:
                    await asyncio.sleep(0.01)
            await stop_until_tried_again(temporal, instance, event_id)
            gate.set()
            event = await instance.until_final(event_id)
            assert event["status"] == "succeeded"
            assert [len(delivery["attempts"]) for delivery in event["deliveries"]] == [1, 1, 1, 1]
            assert [*map(len, all_requests)] == [round_] * 4
            if max(await tries(instance, event_id)) > 1:
                return
    pytest.fail("nothing was tried again, so nothing is proved")


async def stop_until_tried_again(temporal: TemporalProcess, instance: Instance, event_id: str) -> None:
    for _ in range(STOPS):
        temporal.stop()
        await asyncio.sleep(TOO_LONG)
        temporal.go_on()
        await asyncio.sleep(1)
        described = await instance.run(event_id).describe()
        if any(activity.attempt > 1 for activity in described.raw_description.pending_activities):
            return
