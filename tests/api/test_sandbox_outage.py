"""Without a child process, the API says so, and deliveries wait for one: no attempt is lost."""

import asyncio
import gc
import sys

import pytest
from problems import problem

from hookkeeper.sandbox.children import SandboxChild
from instance_parts import end_kept_children
from instances import Instance
from receivers import Receiver

FILTER = "event.data.n > 1"
TEMPLATE = {"template": '{"n": {{ event.data.n }}}'}


@pytest.fixture(autouse=True)
def no_kept_children() -> None:
    end_kept_children()


async def test_the_api_answers_503_without_a_child_process(
    idle_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        for path, body in (
            ("/v1/webhooks", {"url": inbox.url, "filter": FILTER}),
            ("/v1/webhooks/preview", {"webhook": {"url": inbox.url, "payload": TEMPLATE}}),
        ):
            answer = await idle_instance.http.post(path, json=body)
            document = problem(answer, 503)
            assert document["detail"].startswith("The sandbox for templates and filters is unavailable.")
            assert answer.headers["retry-after"] == "5"
    await idle_instance.webhook(inbox.url, filter=FILTER)


async def test_an_event_is_refused_without_a_child_process_and_accepted_later(
    idle_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await idle_instance.webhook(inbox.url, filter=FILTER)
    event = {"id": "evt_1", "type": "order.paid", "tenant": idle_instance.tenant, "data": {"n": 2}}
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        for child in [found for found in gc.get_objects() if isinstance(found, SandboxChild)]:  # and a spare
            child.process.kill()
        problem(await idle_instance.http.post("/v1/events", json=event), 503)
    answer = await idle_instance.http.post("/v1/events", json=event)
    assert answer.status_code == 202
    assert len(answer.json()["deliveries"]) == 1


async def test_a_delivery_waits_for_a_child_process(
    idle_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await idle_instance.webhook(inbox.url, payload=TEMPLATE)
    accepted = await idle_instance.send(data={"n": 2})
    async with idle_instance.working():
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/bin/false")
            await asyncio.sleep(2)
            event = await idle_instance.event(accepted["id"])
            assert event["status"] == "delivering"
            assert event["deliveries"][0]["attempts"] == []
        event = await idle_instance.until_final(accepted["id"])
    assert event["status"] == "succeeded"
    assert len(event["deliveries"][0]["attempts"]) == 1
    assert inbox.requests[0].body == b'{"n": 2}'
