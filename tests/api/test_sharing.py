"""Events that are accepted at the same time share a run, and each is delivered once, whatever happens in between."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from problems import problem
from temporalio.client import Client

from activities import health
from hookkeeper import ids
from hookkeeper.messages.event import EventInput
from hookkeeper.services.events import ingest
from hookkeeper.services.starts import shared_starts
from hookkeeper.temporal.server.error_translation import Unavailable
from instances import Instance, another_process, running_instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT

SHARING = 5
"""Events that share runs at least, of nine that are posted at once: one or two are the first."""


async def post(instance: Instance, event_id: str | None = None, **fields: Any) -> httpx.Response:
    event = {"type": "order.paid", "tenant": instance.tenant, **({"id": event_id} if event_id else {}), **fields}
    return await instance.http.post("/v1/events", json=event)


async def post_until_accepted(instance: Instance, event_id: str, **fields: Any) -> httpx.Response:
    """Post an event again while a busy machine refuses it."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (answer := await post(instance, event_id, **fields)).status_code == 503:
            await asyncio.sleep(0.1)
    return answer


async def post_together(
    instance: Instance, event_ids: Sequence[str], send: Callable[..., Awaitable[httpx.Response]] = post, **fields: Any
) -> list[httpx.Response]:
    """Post events at the same time, and before them another one, which has its own run."""
    posted = [f"{event_ids[0]}-alone", *event_ids]
    answers = await asyncio.gather(*(send(instance, event_id, **fields) for event_id in posted))
    return answers[1:]


def runs_of(answers: Sequence[httpx.Response]) -> set[str]:
    assert {answer.status_code for answer in answers} <= {200, 202}, [answer.text for answer in answers]
    return {answer.json()["workflow_id"] for answer in answers}


@pytest.fixture(autouse=True)
def _no_machine_is_slow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes seconds for hundreds of attempts at once."""
    if "slow" not in request.node.name:
        monkeypatch.setattr(health, "SLOW_MS", 30_000)


@pytest.mark.promise("docs/events.md")
async def test_many_events_at_once_share_few_runs(instance: Instance, inbox: Receiver) -> None:
    """300 events of three tenants: each is accepted, delivered and shown, and each only once."""
    tenants = [f"{instance.tenant}-{n}" for n in range(3)]
    for tenant in tenants:
        await instance.webhook(inbox.url, tenant=tenant)
    posted = [(tenants[n % 3], f"e{n}") for n in range(300)]
    answers = await asyncio.gather(
        *(post_until_accepted(instance, id_, tenant=tenant, data={"n": id_}) for tenant, id_ in posted)
    )
    assert [answer.json()["id"] for answer in answers] == [id_ for _, id_ in posted]
    assert len(runs_of(answers)) <= 30
    requests = await inbox.got(300)
    assert sorted(request.webhook_id for request in requests) == sorted(id_ for _, id_ in posted)
    for tenant, event_id in (posted[0], posted[150], posted[299]):
        async with asyncio.timeout(WAIT_TIMEOUT):
            while True:
                shown = await instance.http.get(f"/v1/events/{event_id}", params={"tenant": tenant})
                assert shown.status_code in (200, 503)
                if shown.status_code == 200 and shown.json()["status"] == "succeeded":
                    break
                await asyncio.sleep(0.05)
        assert shown.json()["data"] == {"n": event_id}
    repeated = range(0, 300, 10)
    again = await asyncio.gather(
        *(post_until_accepted(instance, f"e{n}", tenant=tenants[n % 3], data={"n": f"e{n}"}) for n in repeated)
    )
    assert {answer.status_code for answer in again} == {200}
    assert [answer.json()["workflow_id"] for answer in again] == [answers[n].json()["workflow_id"] for n in repeated]
    conflicting = await post(instance, "e150", tenant=tenants[0])
    problem(conflicting, 409)
    assert len(inbox.requests) == 300


@pytest.mark.promise("docs/events.md")
async def test_an_event_alone_has_its_own_run(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    for n in range(3):
        answer = await post(instance, f"e{n}")
        assert answer.json()["workflow_id"] == ids.workflow_id(instance.tenant, f"e{n}")
        row = await instance.store.rows.find(instance.tenant, f"e{n}")
        assert row is not None
        assert row.shared_run is None
    await inbox.got(3)


async def test_events_that_come_one_after_another_share_runs(instance: Instance, inbox: Receiver) -> None:
    """A run for each would keep a small machine busy at a moderate rate."""
    await instance.webhook(inbox.url)

    async def post_later(number: int) -> httpx.Response:
        await asyncio.sleep(number / 100)
        return await post(instance, f"e{number}")

    answers = await asyncio.gather(*map(post_later, range(40)))
    assert len(runs_of(answers)) <= 10, "a start each fifteenth of a second, for 0.4 s, and one or two more"
    for number in range(40):
        await instance.until_final(f"e{number}")
    assert len(inbox.requests) == 40


@pytest.mark.parametrize(
    ("webhook", "event"),
    [
        ({"ordered": True}, {}),
        ({"rate_limit": 100}, {}),
        ({"emails": [{"to": ["a@example.com"], "subject": "s", "text": "t"}]}, {}),
        ({"enabled": False}, {}),
        ({}, {"deliver_at": "2100-01-01T00:00:00Z"}),
        ({}, {"data": "x" * 9000}),
    ],
    ids=["ordered", "rate", "email", "disabled", "later", "large"],
)
async def test_an_event_that_is_not_plain_has_a_run_of_its_own(
    idle_instance: Instance, webhook: dict[str, Any], event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MAX_AHEAD", timedelta(days=40_000))
    enabled = webhook.pop("enabled", True)
    made = await idle_instance.webhook("http://127.0.0.1:9999/", **webhook)
    if not enabled:
        await idle_instance.http.patch(f"/v1/webhooks/{made['id']}", json={"enabled": False})
    answers = await post_together(idle_instance, [f"e{n}" for n in range(8)], **event)
    assert len(runs_of(answers)) == 8


async def test_events_with_a_slow_webhook_share_runs_of_their_own(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starts are a second apart: on a busy machine, posts at the same time reach the queue one after the other.

    The tenant with the slow webhook has few slots then, and those of its posts that wait for too long are refused.
    """
    monkeypatch.setattr(shared_starts, "PACE", 1.0)
    await instance.webhook(inbox.url)
    other = f"{instance.tenant}-b"
    await instance.webhook(inbox.url, tenant=other)
    inbox.otherwise = type(inbox.otherwise)(delay=1.1)
    for n in range(2):
        await post_until_accepted(instance, f"slow{n}")
        await instance.until_final(f"slow{n}")
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not (await instance.store.webhooks.matching(instance.tenant, "order.paid"))[0].slow_at:
            await asyncio.sleep(0.05)
    names = [f"e{n}" for n in range(20)]
    slow, quick = await asyncio.gather(
        post_together(instance, names, post_until_accepted), post_together(instance, names, tenant=other)
    )
    assert len(runs_of(slow)) < len(names)
    assert not runs_of(slow) & runs_of(quick)


@pytest.mark.promise("docs/events.md")
async def test_simultaneous_posts_of_a_new_id_are_one_event(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    answers = await asyncio.gather(*(post(instance, f"e{n % 4}") for n in range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] * 36 + [202] * 4
    assert {answer.json()["id"] for answer in answers if answer.status_code == 202} == {"e0", "e1", "e2", "e3"}
    for n in range(4):
        assert len(runs_of([answer for answer in answers if answer.json()["id"] == f"e{n}"])) == 1
        await instance.until_final(f"e{n}")
    assert len(inbox.requests) == 4


async def test_events_of_a_start_without_an_answer_are_delivered_once(
    own_instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are started again from their rows."""
    await own_instance.webhook(inbox.url)
    start = own_instance.gateway.runs.start_shared

    async def lose_answer(run_id: str, events: Sequence[EventInput]) -> str:
        await start(run_id, events)
        raise Unavailable("the answer is lost")

    with monkeypatch.context() as lossy:
        lossy.setattr(own_instance.gateway.runs, "start_shared", lose_answer)
        answers = await asyncio.gather(*(post(own_instance) for _ in range(9)))
        await own_instance.settled()
    assert {answer.status_code for answer in answers} == {202}
    await own_instance.app.state.api.look_after.look(timedelta(0))
    for answer in answers:
        await own_instance.until_final(answer.json()["id"])
    assert len(inbox.requests) == 9


async def test_events_of_shared_runs_are_recognised_while_sharing_is_off(instance: Instance) -> None:
    answers = await post_together(instance, [f"e{n}" for n in range(8)])
    async with another_process(instance, max_events_per_run=1) as other:
        again = await post_together(other, [f"e{n}" for n in range(8)])
        assert {answer.status_code for answer in again} == {200}
        assert runs_of(again) == runs_of(answers)
        problem(await post(other, "e3", data=1), 409)
        new = await post_together(other, [f"new{n}" for n in range(8)])
        assert len(runs_of(new)) == 8


@pytest.mark.parametrize("first", [1, 50])
async def test_an_id_posted_at_once_to_processes_with_and_without_sharing_is_one_event(
    instance: Instance, inbox: Receiver, first: int
) -> None:
    """Two processes disagree about sharing during a roll-out."""
    await instance.webhook(inbox.url)
    event_ids = [f"e{n}" for n in range(25)]
    async with another_process(instance, max_events_per_run=1) as alone:
        pair = (alone, instance) if first == 1 else (instance, alone)
        posts = [post_until_accepted(process, event_id) for process in pair for event_id in event_ids]
        answers = await asyncio.gather(*posts)
    for n, event_id in enumerate(event_ids):
        assert sorted(answer.status_code for answer in (answers[n], answers[25 + n])) == [200, 202], event_id
        assert len(runs_of((answers[n], answers[25 + n]))) == 1, event_id
        await instance.until_final(event_id)
    assert sorted(request.webhook_id for request in inbox.requests) == sorted(event_ids)


async def test_events_from_before_sharing_are_recognised(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, max_events_per_run=1) as instance:
        answers = await post_together(instance, [f"e{n}" for n in range(8)])
        async with another_process(instance, max_events_per_run=50) as sharing:
            again = await post_together(sharing, [f"e{n}" for n in range(8)])
            assert {answer.status_code for answer in again} == {200}
            assert runs_of(again) == runs_of(answers)
