"""Encrypted runs: nothing of an event or of a receiver is readable in Temporal, and all of it through the API."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from claimed_runs import share, until_listed
from hookkeeper.crypto.keyring import Keyring, Undecipherable, UnknownKey, new_key
from hookkeeper.temporal.server.data_converter import EncryptionCodec, data_converter
from instances import Instance, running_instance
from receivers import Answer, Receiver
from saved_histories import failures
from shared_runs import SharedRun, event_to
from timeouts import WAIT_TIMEOUT

OLD, NEW = new_key("old"), new_key("new")
DATA = {"customer-field": "customer-word", "order": 471147114711}
NEVER_READABLE = (
    *("customer-field", "customer-word", "471147114711", "receiver-path", "answer-word", "note-path", "127.0.0.1"),
    *("ann@", "a.example", "subject-word", "deliveries failed"),
)


@pytest.fixture
async def sealed(temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance where everything is encrypted, without a worker."""
    async with running_instance(
        temporal, tmp_path, encryption_keys=SecretStr(OLD), email_capture_dir=tmp_path / "emails"
    ) as built:
        yield built


async def seen_without_keys(temporal: Client, workflow_id: str) -> list[Message]:
    """Return all that the server tells of the runs with this id."""
    seen: list[Message] = []
    async for run in temporal.list_workflows(f"WorkflowId = '{workflow_id}'"):
        handle = temporal.get_workflow_handle(workflow_id, run_id=run.run_id)
        events = (await handle.fetch_history()).events
        seen += [run.raw_info, (await handle.describe()).raw_description]
        # A marker holds the name of a patch of the code, which Temporal's SDK writes in plain.
        seen += [event for event in events if not event.HasField("marker_recorded_event_attributes")]
    return seen


def payloads_in(message: Message) -> Iterator[Payload]:
    """Find all payloads but those of search attributes."""
    for field, value in message.ListFields():
        if field.message_type is None or field.name == "search_attributes":
            continue
        if field.message_type.GetOptions().map_entry:
            inner = [entry for entry in value.values() if isinstance(entry, Message)]
        else:
            inner = value if field.is_repeated else [value]
        for entry in inner:
            if isinstance(entry, Payload):
                yield entry
            else:
                yield from payloads_in(entry)


def check_unreadable(seen: list[Message]) -> None:
    payloads = [payload for message in seen for payload in payloads_in(message)]
    assert {bytes(encrypted.metadata["encoding"]) for encrypted in payloads} == {b"binary/encrypted"}
    assert {bytes(encrypted.metadata["encryption-key-id"]) for encrypted in payloads} == {b"old"}
    text = "\n".join(map(str, seen))
    assert not [word for word in NEVER_READABLE if word in text]


@pytest.fixture
def dead_url() -> Iterator[str]:
    """A URL without a receiver."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/receiver-path"


@pytest.mark.promise("docs/encryption.md")
async def test_no_payload_of_an_event_is_readable_in_temporal(
    sealed: Instance, temporal: Client, inbox: Receiver, dead_url: str
) -> None:
    """Setup: a webhook with URL, email and note that succeeds at last, and one that fails.
    Timeline: attempts, the run fails; a redelivery, a hold by an update, a release by a signal, a cancel.
    Proves: inputs, results, heartbeats, timers, summaries, memo, updates and failures are encrypted, and the
    API shows them all.
    """
    inbox.fails(503, 500)
    inbox.otherwise = Answer(200, "answer-word")
    note = {"http": {"url": inbox.url + "/note-path", "body": '{"text": {{ event.data.order }}}'}}
    email = {"to": ["ann@a.example"], "subject": "subject-word {{ event.data.order }}", "text": "."}
    often = {"schedule": [0.1, 0.1, 0.1]}
    async with sealed.working():
        await sealed.webhook(inbox.url + "/receiver-path", emails=[email], notifications=[note], retry=often)
        dead = (await sealed.webhook(dead_url, retry={"schedule": [4]}))["id"]
        event_id = (await sealed.send(data=DATA))["id"]
        assert (await sealed.until_closed(event_id))["status"] == "failed"
        check_unreadable(await seen_without_keys(temporal, sealed.run(event_id).id))
        assert (await sealed.command(event_id, "redeliver", dead)).status_code == 202
        await sealed.until_delivery(event_id, "retrying", n=3)
        assert (await sealed.command(event_id, "hold", dead)).status_code == 202
        await sealed.run(event_id).signal("hold", dead)
        assert (await sealed.command(event_id, "cancel")).status_code == 202
        await sealed.until_closed(event_id)
    check_unreadable(await seen_without_keys(temporal, sealed.run(event_id).id))
    event = await sealed.event(event_id)
    assert event["data"] == DATA
    assert event["deliveries"][0]["attempts"][-1]["response_excerpt"] == "answer-word"
    assert event["deliveries"][1]["target"] == "ann@a.example"
    assert event["deliveries"][3]["target"] == dead_url
    listed = (await sealed.http.get("/v1/events", params={"tenant": sealed.tenant})).json()["items"]
    assert [(item["id"], item["accepted_at"]) for item in listed] == [(event_id, event["accepted_at"])]


@pytest.mark.promise("docs/encryption.md")
async def test_no_payload_of_a_shared_run_is_readable_in_temporal(
    sealed: Instance, temporal: Client, inbox: Receiver
) -> None:
    """Its input, summary, memo, result and heartbeats are encrypted, also in a run that replaces it."""
    inbox.otherwise = Answer(200, "answer-word")
    async with sealed.working():
        webhook = await sealed.webhook(inbox.url + "/receiver-path")
        events = [event_to(webhook, id=f"e{n}", tenant=sealed.tenant, data=DATA) for n in range(3)]
        run = await share(sealed, events)
        await run.result()
        await until_listed(run)
        check_unreadable(await seen_without_keys(temporal, run.handle.id))
        assert (await sealed.http.delete("/v1/events/e0/data", params={"tenant": sealed.tenant})).status_code == 202
        replacement = SharedRun(sealed, sealed.temporal.get_workflow_handle(f"{run.handle.id}.1"))
        await replacement.result()
        await until_listed(replacement)
        check_unreadable(await seen_without_keys(temporal, replacement.handle.id))
        shown = await sealed.event("e2")
    assert (shown["workflow_id"], shown["data"]) == (replacement.handle.id, DATA)
    assert shown["deliveries"][0]["attempts"][0]["response_excerpt"] == "answer-word"


async def test_an_internal_error_contains_nothing_readable(
    sealed: Instance, temporal: Client, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An activity fails with the data in its message; the server keeps the failure with the retry that it waits for."""

    async def fail(*_: object) -> None:
        raise RuntimeError("customer-word is too much for me")

    monkeypatch.setattr("hookkeeper.registry.webhooks.webhooks.Webhooks.many", fail)
    async with sealed.working():
        await sealed.webhook(inbox.url + "/receiver-path")
        event_id = (await sealed.send(data=DATA))["id"]
        handle = temporal.get_workflow_handle(sealed.run(event_id).id)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not (pending := (await handle.describe()).raw_description.pending_activities) or not pending[
                0
            ].HasField("last_failure"):
                await asyncio.sleep(0.05)
    failure = pending[0].last_failure
    assert failure.message == "Encoded failure"
    assert failure.stack_trace == ""
    check_unreadable(await seen_without_keys(temporal, sealed.run(event_id).id))
    await handle.terminate()


async def test_the_largest_event_is_delivered(sealed: Instance, inbox: Receiver) -> None:
    data = {"text": "x" * 250_000}
    async with sealed.working():
        inbox.fails(500)
        await sealed.webhook(inbox.url, retry={"schedule": [0.1]})
        event_id = (await sealed.send(data=data))["id"]
        event = await sealed.until_final(event_id)
    assert (event["status"], event["data"]) == ("succeeded", data)


async def test_keys_are_rotated_while_runs_are_open(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    """Setup: an event that waits for its retry, encrypted with the old key.
    Timeline: a worker with both keys finishes it; then the old key is removed.
    Proves: the old key reads, the new one writes; without it, an event is shown as its row has it, encrypted anew.
    """
    inbox.fails(500)
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(OLD)) as before, before.working():
        await before.webhook(inbox.url, retry={"schedule": [2]})
        first = (await before.send(data=DATA))["id"]
        await before.until_in_history(first, EventType.EVENT_TYPE_TIMER_STARTED)
    same = {"task_queue": before.settings.task_queue}
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(f"{NEW},{OLD}"), **same) as both:
        both.tenant = before.tenant
        async with both.working():
            assert (await both.until_final(first))["status"] == "succeeded"
            second = (await both.send(data=DATA))["id"]
            await both.until_final(second)
            assert await both.store.re_encrypt() > 0
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(NEW), **same) as after:
        after.tenant = before.tenant
        assert (await after.event(second))["data"] == DATA
        shown = await after.event(first)  # its history cannot be read, but its row
        assert (shown["data"], shown["status"], len(shown["deliveries"][0]["attempts"])) == (DATA, "succeeded", 2)


async def test_a_run_without_its_key_waits_and_harms_no_other(
    temporal: Client, tmp_path: Path, inbox: Receiver
) -> None:
    """Proves: a run that cannot be read harms no other, and goes on when the key is back."""
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(OLD)) as locked:
        await locked.webhook(inbox.url)
        waits = (await locked.send(data=DATA))["id"]
    same = {"task_queue": locked.settings.task_queue}
    async with (
        running_instance(temporal, tmp_path / "other", encryption_keys=SecretStr(NEW), **same) as other,
        other.working(),
    ):
        await other.webhook(inbox.url)
        assert (await other.until_final((await other.send())["id"]))["status"] == "succeeded"
    assert len(inbox.requests) == 1
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(OLD), **same) as back, back.working():
        back.tenant = locked.tenant
        assert (await back.until_final(waits))["status"] == "succeeded"


async def test_runs_from_before_encryption_continue(temporal: Client, tmp_path: Path, inbox: Receiver) -> None:
    inbox.fails(500)
    async with running_instance(temporal, tmp_path) as plain, plain.working():
        await plain.webhook(inbox.url, retry={"schedule": [1]})
        event_id = (await plain.send(data=DATA))["id"]
        await plain.until_in_history(event_id, EventType.EVENT_TYPE_TIMER_STARTED)
    settings: dict[str, Any] = {"task_queue": plain.settings.task_queue, "encryption_keys": SecretStr(OLD)}
    async with running_instance(temporal, tmp_path, **settings) as sealed, sealed.working():
        sealed.tenant = plain.tenant
        event = await sealed.until_final(event_id)
    assert (event["status"], event["data"]) == ("succeeded", DATA)


async def test_plain_histories_replay_with_keys() -> None:
    assert await failures(data_converter(Keyring.parse(OLD)), lambda history: None) == {}


async def test_the_codec_decrypts_with_old_keys_and_refuses_changed_payloads() -> None:
    codec = EncryptionCodec(Keyring.parse(OLD))
    payload = Payload(metadata={"encoding": b"json/plain", "messageType": b"x"}, data=b'{"a": 1}')
    (encrypted,) = await codec.encode([payload])
    assert await codec.decode([encrypted]) == [payload]
    assert await EncryptionCodec(Keyring.parse(f"{NEW},{OLD}")).decode([payload, encrypted]) == [payload, payload]
    assert encrypted.ByteSize() - payload.ByteSize() < 150
    with pytest.raises(UnknownKey, match="key old"):
        await EncryptionCodec(Keyring.parse(NEW)).decode([encrypted])
    encrypted.data = encrypted.data[:-1]
    with pytest.raises(Undecipherable):
        await codec.decode([encrypted])


@pytest.mark.promise("docs/encryption.md")
async def test_a_registry_without_its_key_is_unavailable_and_the_log_says_why(
    temporal: Client, tmp_path: Path, inbox: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(OLD)) as locked:
        webhook = await locked.webhook(inbox.url)
    async with running_instance(temporal, tmp_path, encryption_keys=SecretStr(NEW)) as other:
        for path in ("/readyz", f"/v1/webhooks/{webhook['id']}", "/v1/webhooks"):
            answer = await other.http.get(path)
            assert answer.status_code == 503
            assert answer.json()["detail"].startswith("The registry is unavailable.")
        assert "encrypted with key old, which is not in HOOKKEEPER_ENCRYPTION_KEYS" in capsys.readouterr().out
        answer = await other.http.post("/v1/events", json={"type": "order.paid", "tenant": locked.tenant})
        assert answer.status_code == 503
        assert (await other.http.get("/healthz")).status_code == 200
