"""Events that are accepted at the same time share a run, and each is delivered once, whatever happens in between."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from problems import problem
from temporalio.client import Client

from activities import health
from claimed_runs import acceptance
from hookkeeper import ids
from hookkeeper.messages.event import EventInput
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.services import event_starts, ingest
from hookkeeper.services.new_event import NewEvent, digest
from hookkeeper.temporal.server.error_translation import Unavailable
from hookkeeper.times import utc_now
from instances import Instance, another_process, running_instance
from receivers import Receiver
from shared_runs import event_to
from timeouts import WAIT_TIMEOUT

SHARING = 5
"""Events that share runs at least, of nine that are posted at once: one or two are the first."""


async def post(instance: Instance, event_id: str | None = None, **fields: Any) -> httpx.Response:
    event = {"type": "order.paid", "tenant": instance.tenant, **({"id": event_id} if event_id else {}), **fields}
    return await instance.http.post("/v1/events", json=event)


async def post_until_accepted(instance: Instance, event_id: str, **fields: Any) -> httpx.Response:
    """Post an event again while a busy machine lets Temporal time out."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while (answer := await post(instance, event_id, **fields)).status_code == 503:
            await asyncio.sleep(0.1)
    return answer


async def post_together(instance: Instance, event_ids: Sequence[str], **fields: Any) -> list[httpx.Response]:
    """Post events at the same time, and before them another one, which has its own run."""
    answers = await asyncio.gather(
        post(instance, f"{event_ids[0]}-alone", **fields),
        *(post(instance, event_id, **fields) for event_id in event_ids),
    )
    return answers[1:]


def run_ids(answers: Sequence[httpx.Response]) -> set[str]:
    assert {answer.status_code for answer in answers} <= {200, 202}, [answer.text for answer in answers]
    return {answer.json()["run_id"] for answer in answers}


def shared_event(instance: Instance, event_id: str, age: timedelta = timedelta()) -> EventInput:
    """Return an event without webhooks as another process would accept it, so long ago."""
    event, at = NewEvent(type="order.paid", tenant=instance.tenant, id=event_id), utc_now() - age
    return EventInput(
        id=event_id,
        type=event.type,
        tenant=event.tenant,
        timestamp=at,
        data=event.data,
        digest=digest(event),
        accepted_at=at,
    )


@pytest.fixture(autouse=True)
def _no_machine_is_slow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes seconds for hundreds of attempts at once."""
    if "slow" not in request.node.name:
        monkeypatch.setattr(health, "SLOW_MS", 30_000)


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
    assert len(run_ids(answers)) <= 30
    assert len({answer.json()["workflow_id"] for answer in answers}) == len(run_ids(answers))
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
    assert [answer.json()["run_id"] for answer in again] == [answers[n].json()["run_id"] for n in repeated]
    conflicting = await post(instance, "e150", tenant=tenants[0])
    problem(conflicting, 409)
    assert len(inbox.requests) == 300


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
    assert len(run_ids(answers)) <= 10, "a start each fifteenth of a second, for 0.4 s, and one or two more"
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
    assert len(run_ids(answers)) == 8


async def test_events_with_a_slow_webhook_share_runs_of_their_own(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    other = f"{instance.tenant}-b"
    await instance.webhook(inbox.url, tenant=other)
    inbox.otherwise = type(inbox.otherwise)(delay=1.1)
    for n in range(2):
        await post(instance, f"slow{n}")
        await instance.until_final(f"slow{n}")
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not (await instance.store.webhooks.matching(instance.tenant, "order.paid"))[0].slow_at:
            await asyncio.sleep(0.05)
    names = [f"e{n}" for n in range(20)]
    slow, quick = await asyncio.gather(post_together(instance, names), post_together(instance, names, tenant=other))
    assert len(run_ids(slow)) < len(names)
    assert not run_ids(slow) & run_ids(quick)


async def test_simultaneous_posts_of_a_new_id_are_one_event(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    answers = await asyncio.gather(*(post(instance, f"e{n % 4}") for n in range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] * 36 + [202] * 4
    assert {answer.json()["id"] for answer in answers if answer.status_code == 202} == {"e0", "e1", "e2", "e3"}
    for n in range(4):
        assert len(run_ids([answer for answer in answers if answer.json()["id"] == f"e{n}"])) == 1
        await instance.until_final(f"e{n}")
    assert len(inbox.requests) == 4


async def test_an_event_without_a_run_is_started_when_it_is_posted_again(instance: Instance, inbox: Receiver) -> None:
    """A process died between the row and the start: the same event, posted again, is delivered, and not by a late
    start.
    """
    webhook = await instance.webhook(inbox.url)
    lost, event = ids.shared_run_id(), shared_event(instance, "e", event_starts.START_TIME)
    await instance.store.rows.accept([acceptance(event, lost)])
    answers = await asyncio.gather(*(post(instance, "e") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [202]
    assert run_ids(answers) == run_ids(answers[:1])
    await instance.until_final("e")
    late = event_to(webhook, id="e", tenant=instance.tenant)
    assert await instance.gateway.start_shared(lost, [late.model_copy(update={"digest": event.digest})]) is None
    await instance.temporal.get_workflow_handle(lost).result()
    problem(await post(instance, "e", data=1), 409)
    assert len(inbox.requests) == 1


async def test_events_that_are_posted_again_after_an_outage_share_a_run(instance: Instance, inbox: Receiver) -> None:
    """Temporal was away when they came first, so the run that they were to share was never started."""
    await instance.webhook(inbox.url)
    event_ids = [f"e{n}" for n in range(9)]
    lost = ids.shared_run_id()
    await instance.store.rows.accept(
        [acceptance(shared_event(instance, event_id, event_starts.START_TIME), lost) for event_id in event_ids]
    )
    answers = await post_together(instance, event_ids)
    assert [answer.status_code for answer in answers] == [202] * 9
    assert sum(answer.json()["workflow_id"].startswith("shared-") for answer in answers) >= SHARING
    assert len(run_ids(answers)) <= 9 - SHARING + 1
    again = await asyncio.gather(*(post(instance, event_id) for event_id in event_ids))
    assert [answer.json()["run_id"] for answer in again] == [answer.json()["run_id"] for answer in answers]
    for event_id in event_ids:
        await instance.until_final(event_id)
    assert sorted(request.webhook_id for request in inbox.requests) == sorted([*event_ids, "e0-alone"])


async def test_a_start_that_another_process_has_under_way_is_awaited(instance: Instance, inbox: Receiver) -> None:
    await instance.webhook(inbox.url)
    shared_run, event = ids.shared_run_id(), shared_event(instance, "e")
    await instance.store.rows.accept([acceptance(event, shared_run)])
    again = asyncio.create_task(post(instance, "e"))
    other = asyncio.create_task(post(instance, "e", data="other"))
    await asyncio.sleep(0.3)
    assert not again.done()
    run_id = await instance.gateway.start_shared(shared_run, [event])
    assert (await again).json() | {"workflow_id": shared_run, "run_id": run_id} == (await again).json()
    assert (await again).status_code == 200
    problem(await other, 409)


async def test_events_of_a_start_without_an_answer_are_recognised_when_posted_again(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events get 503. Posted again with their ids, which were generated, they are the events that were started."""
    await instance.webhook(inbox.url)
    start = instance.gateway.start_shared

    async def lose_answer(run_id: str, events: Sequence[EventInput]) -> str:
        await start(run_id, events)
        raise Unavailable("the answer is lost")

    with monkeypatch.context() as lossy:
        lossy.setattr(instance.gateway, "start_shared", lose_answer)
        answers = await asyncio.gather(*(post(instance) for _ in range(9)))
    lost = [problem(answer, 503)["event_id"] for answer in answers if answer.status_code == 503]
    assert len(lost) >= SHARING
    again = [await post(instance, event_id) for event_id in lost]
    assert [answer.status_code for answer in again] == [200] * len(lost)
    await inbox.got(9)
    for event_id in lost:
        await instance.until_final(event_id)
    assert len(inbox.requests) == 9


async def test_an_event_without_its_row_is_recognised_when_posted_again(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of a generated id is written while its run is started. Posted again with others, it is the same event."""
    await instance.webhook(inbox.url)

    async def fail(*arguments: Any) -> Any:
        raise RegistryUnavailable("the row is not written")

    with monkeypatch.context() as lossy:
        lossy.setattr(instance.store.rows, "add", fail)
        event_id = problem(await post(instance), 503)["event_id"]
    await inbox.got(1)
    again = await post_together(instance, [event_id, *(f"e{n}" for n in range(8))])
    assert [answer.status_code for answer in again] == [200] + [202] * 8
    await inbox.got(10)
    for answer in again:
        await instance.until_final(answer.json()["id"])
    assert len(inbox.requests) == 10


async def test_requests_that_have_all_ended_start_nothing(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporal does not answer in time, neither to those that are started nor to those that wait for a start.

    One of those that wait was accepted before, so it leaves the group that it is in, and its start may go on.
    """
    await instance.webhook(inbox.url)
    event_ids = [f"e{n}" for n in range(5)]
    assert (await post(instance, "known")).status_code == 202
    begun, ended = [], []
    breaks_off = asyncio.Event()

    async def hang(*arguments: Any) -> Any:
        begun.append(arguments)
        try:
            await breaks_off.wait()
        finally:
            ended.append(arguments)
        raise Unavailable("Temporal has not answered")

    with monkeypatch.context() as busy:
        busy.setattr(ingest, "ACCEPT_TIMEOUT", 0.5)
        for call in ("start", "start_shared", "known"):
            busy.setattr(instance.gateway, call, hang)
        answers = await asyncio.gather(*(post(instance, event_id) for event_id in [*event_ids, "known"]))
        assert {answer.status_code for answer in answers} == {503}
    new = [arguments for arguments in begun if "known" not in arguments]
    assert len([arguments for arguments in ended if arguments in new]) == len(new) > 0
    breaks_off.set()  # the start of the known event outlasts its request, and holds a place among the starts
    again = await asyncio.gather(*(post(instance, event_id) for event_id in event_ids))
    assert {answer.status_code for answer in again} == {202}
    for event_id in event_ids:
        await instance.until_final(event_id)
    assert sorted(request.webhook_id for request in inbox.requests) == [*event_ids, "known"]


async def test_events_of_shared_runs_are_recognised_while_sharing_is_off(instance: Instance) -> None:
    answers = await post_together(instance, [f"e{n}" for n in range(8)])
    async with another_process(instance, max_events_per_run=1) as other:
        again = await post_together(other, [f"e{n}" for n in range(8)])
        assert {answer.status_code for answer in again} == {200}
        assert run_ids(again) == run_ids(answers)
        problem(await post(other, "e3", data=1), 409)
        new = await post_together(other, [f"new{n}" for n in range(8)])
        assert len(run_ids(new)) == 8


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
        assert len(run_ids((answers[n], answers[25 + n]))) == 1, event_id
        await instance.until_final(event_id)
    assert sorted(request.webhook_id for request in inbox.requests) == sorted(event_ids)


async def test_events_from_before_sharing_are_recognised(temporal: Client, tmp_path: Path) -> None:
    async with running_instance(temporal, tmp_path, max_events_per_run=1) as instance:
        answers = await post_together(instance, [f"e{n}" for n in range(8)])
        async with another_process(instance, max_events_per_run=50) as sharing:
            again = await post_together(sharing, [f"e{n}" for n in range(8)])
            assert {answer.status_code for answer in again} == {200}
            assert [answer.json()["run_id"] for answer in again] == [answer.json()["run_id"] for answer in answers]
