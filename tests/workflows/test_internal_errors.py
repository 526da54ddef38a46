"""An internal error of one webhook, as after the loss of its key, delays no other: seen by the API and receivers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from temporalio.client import Client

from activities import webhooks
from activities.rendering import Renderer
from hookkeeper import ids, metrics
from hookkeeper.crypto.keyring import new_key
from hookkeeper.egress import http
from hookkeeper.registry.storage.database import open_engine
from hookkeeper.registry.webhooks import reads as webhook_reads
from hookkeeper.registry.webhooks.health import HealthStore
from instances import Instance, running_instance
from receivers import Receiver
from shared_runs import event_to, start
from timeouts import WAIT_TIMEOUT


@pytest.fixture
async def sealed(temporal: Client, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance with an encrypted registry, and a worker."""
    keys = SecretStr(new_key("present"))
    async with running_instance(temporal, tmp_path, encryption_keys=keys) as instance, instance.working():
        yield instance


async def lose_key(instance: Instance, webhook: dict[str, Any], *, back: bool = False) -> None:
    """Let the webhook's signing key be encrypted with a key that is not set; `back`: with the present one again."""
    old, new = ("lost", "present") if back else ("present", "lost")
    change = "UPDATE webhooks SET secret = replace(secret, :old, :new) WHERE id = :id"
    engine = open_engine(instance.settings.database_url)
    async with engine.begin() as connection:
        await connection.execute(text(change), {"old": f"enc:{old}:", "new": f"enc:{new}:", "id": webhook["id"]})
    await engine.dispose()


async def post_at_once(instance: Instance, *events: tuple[str, str]) -> list[dict[str, Any]]:
    """Post events, each a tenant and an id, of which all but the first can share runs."""
    bodies = [{"type": "order.paid", "tenant": tenant, "id": id_} for tenant, id_ in events]
    answers = await asyncio.gather(*(instance.http.post("/v1/events", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {202}
    return [answer.json() for answer in answers]


def counted() -> float:
    return metrics.PROCESS.get_sample_value("hookkeeper_internal_errors_total", {"channel": "webhook"}) or 0.0


async def until_failing(instance: Instance, event_id: str) -> str:
    """Wait until an activity of the event's own run meets the error again; return what Temporal shows of it."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            pending = (await instance.run(event_id).describe()).raw_description.pending_activities
            if pending and pending[0].HasField("last_failure"):
                return str(await instance.temporal.data_converter.decode_failure(pending[0].last_failure))
            await asyncio.sleep(0.05)


@pytest.mark.promise("docs/guarantees.md")
async def test_events_of_other_tenants_that_share_a_run_are_delivered(
    sealed: Instance, inbox: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """Timeline: events of three tenants share runs, and the webhook of one cannot be read; one of its events is
    cancelled; the key is back.
    """
    tenants = [f"{sealed.tenant}-{name}" for name in ("lost", "a", "b")]
    lost, *_ = [await sealed.webhook(f"{inbox.url}/{tenant}", tenant=tenant) for tenant in tenants]
    await lose_key(sealed, lost)
    names = [f"e{number}" for number in range(9)]
    accepted = await post_at_once(sealed, *((tenant, name) for name in names for tenant in tenants))
    shared: dict[str, set[str]] = {}
    for event in accepted:
        shared.setdefault(event["run_id"], set()).add(event["tenant"])
    assert set(tenants) in shared.values(), "a run has events of all tenants"
    for sealed.tenant in tenants[1:]:
        for name in names:
            assert (await sealed.until_final(name))["status"] == "succeeded"
    sealed.tenant = tenants[0]
    *waiting, cancelled = names
    assert (await sealed.event(cancelled))["status"] == "delivering"
    assert (await sealed.command(cancelled, "cancel")).status_code == 202
    event = await sealed.until_final(cancelled)  # it may have no run of its own yet
    assert (event["status"], event["deliveries"][0]["attempts"]) == ("cancelled", [])
    assert lost["id"] in await until_failing(sealed, waiting[0])
    assert f"webhook='{lost['id']}'" in capsys.readouterr().out
    await lose_key(sealed, lost, back=True)
    for name in waiting:
        event = await sealed.until_final(name)
        assert [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]] == [200]
    sent = [(request.path.rsplit("/")[-1], request.webhook_id) for request in inbox.requests]
    expected = [(tenant, name) for tenant in tenants for name in names if (tenant, name) != (tenants[0], cancelled)]
    assert sorted(sent) == sorted(expected), "each once"


@pytest.mark.promise("docs/guarantees.md")
async def test_the_other_webhook_of_an_event_gets_it(sealed: Instance, inbox: Receiver) -> None:
    """Timeline: the delivery to the webhook that cannot be read is cancelled."""
    before = counted()
    lost, good = [await sealed.webhook(f"{inbox.url}/{name}") for name in ("lost", "good")]
    await lose_key(sealed, lost)
    event_id = (await sealed.send())["id"]
    await sealed.until_delivery(event_id, "succeeded", n=1)
    assert "key lost, which is not in HOOKKEEPER_ENCRYPTION_KEYS" in await until_failing(sealed, event_id)
    assert counted() >= before + 2
    assert (await sealed.command(event_id, "cancel", lost["id"])).status_code == 202
    event = await sealed.until_closed(event_id)
    assert [(delivery["id"], delivery["status"]) for delivery in event["deliveries"]] == [
        (lost["id"], "cancelled"),
        (good["id"], "succeeded"),
    ]
    assert [request.path for request in inbox.requests] == ["/hook/good"]


async def test_an_event_whose_only_webhook_cannot_be_read_is_cancelled(sealed: Instance, inbox: Receiver) -> None:
    lost = await sealed.webhook(inbox.url)
    await lose_key(sealed, lost)
    event_id = (await sealed.send())["id"]
    await until_failing(sealed, event_id)
    assert (await sealed.command(event_id, "cancel")).status_code == 202
    assert (await sealed.until_closed(event_id))["status"] == "cancelled"
    assert not inbox.requests


async def test_an_event_is_cancelled_although_nothing_of_its_shared_run_can_be_sent(
    sealed: Instance, inbox: Receiver
) -> None:
    """Timeline: the key is lost before the run, an event is cancelled, the run gives up, the key is back."""
    lost = await sealed.webhook(inbox.url)
    await lose_key(sealed, lost)
    run = await start(sealed, [event_to(lost, id=name, tenant=sealed.tenant) for name in ("cancelled", "waits")])
    await run.command("cancelled", "cancel")
    assert len((await run.result()).continued) == 2
    await sealed.until_cancelled("cancelled")
    await lose_key(sealed, lost, back=True)
    assert (await sealed.run("waits").result())["status"] == "succeeded"
    assert [request.webhook_id for request in inbox.requests] == ["waits"]


# Errors at each point of an activity


def at(point: str, broken: dict[str, Any], is_broken: list[bool], patch: pytest.MonkeyPatch) -> None:
    """Let this point of an activity fail for the webhook, as long as `is_broken` has something."""

    def failing(original: Callable[..., Any], concerns: Callable[..., bool]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if is_broken and concerns(*args):
                raise RuntimeError("a bug")
            return original(*args, **more)

        return call

    places: dict[str, tuple[Any, str, Callable[..., bool]]] = {
        "read": (webhook_reads, "_webhook", lambda row: broken["id"] in row),
        "render": (Renderer, "rendered", lambda *_: True),
        "sign": (webhooks, "signed_headers", lambda webhook, *_: webhook.id == broken["id"]),
        "send": (http, "send", lambda client, method, url: url == broken["url"]),
        "record": (
            HealthStore,
            "record",
            lambda _, results, *__: broken["id"] in {each.webhook_id for each in results},
        ),
    }
    owner, name, concerns = places[point]
    patch.setattr(owner, name, failing(getattr(owner, name), concerns))


@pytest.mark.parametrize("point", ["read", "render", "sign", "send", "record"])
async def test_a_bug_at_any_point_delays_no_other_event(
    instance: Instance, inbox: Receiver, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Fifty events of three tenants share a run, and a bug concerns the webhook of one; it is mended. What cannot be
    recorded has been sent.
    """
    tenants = [f"{instance.tenant}-{name}" for name in "abc"]
    good = [await instance.webhook(f"{inbox.url}/good", tenant=tenant) for tenant in tenants]
    broken = await instance.webhook(f"{inbox.url}/broken", tenant=tenants[0], payload={"static": {"text": "hi"}})
    is_broken = [True]
    at(point, broken, is_broken, monkeypatch)
    events = [event_to(good[n % 3], id=f"e{n}", tenant=tenants[n % 3]) for n in range(49)]
    events.insert(17, event_to(broken, id="broken", tenant=tenants[0]))
    result = await (await start(instance, events)).result()
    is_sent = point == "record"
    assert len(result.finished) == 49 + is_sent
    assert len(inbox.requests) == 49 + is_sent, "each once"
    is_broken.clear()
    if not is_sent:
        instance.tenant = tenants[0]
        assert result.continued == (ids.workflow_id(instance.tenant, "broken"),)
        async with asyncio.timeout(WAIT_TIMEOUT):
            assert (await instance.run("broken").result())["status"] == "succeeded"
    sent = {request.webhook_id for request in inbox.requests}
    assert (len(inbox.requests), sent) == (50, {event.id for event in events})
