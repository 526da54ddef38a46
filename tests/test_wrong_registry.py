"""A registry that is not the namespace's decides nothing: commands refuse it, processes are not ready, runs wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import processes
import pytest
from sqlalchemy import text
from temporalio.client import Client

from activities.internal_errors import MAX_TRIES
from hookkeeper.findings import Finding
from hookkeeper.registry.storage.database import open_engine
from hookkeeper.registry.store import Store
from hookkeeper.services.system.doctor import Doctor
from hookkeeper.services.system.state import SystemState
from hookkeeper.settings import Settings
from hookkeeper.temporal.events.reindex import Reindex
from hookkeeper.temporal.server import installation
from instances import Instance, running_instance
from receivers import Receiver
from timeouts import WAIT_TIMEOUT, pauses

OTHERS = "does not belong to this registry: correct HOOKKEEPER_DATABASE_URL or TEMPORAL_NAMESPACE"
AGAIN = {"schedule": [1.0] * 49}


def url_of(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


def settings_of(instance: Instance, database_url: str = "") -> dict[str, str]:
    """Return the settings of commands of the instance, or of one with another registry."""
    return {
        "HOOKKEEPER_DATABASE_URL": database_url or instance.settings.database_url,
        "HOOKKEEPER_TASK_QUEUE": instance.settings.task_queue,
        "HOOKKEEPER_ALLOWED_NETWORKS": "127.0.0.0/8",
        "TEMPORAL_ADDRESS": instance.temporal.service_client.config.target_host,
        "TEMPORAL_NAMESPACE": instance.temporal.namespace,
    }


async def run(command: str, folder: Path, settings: dict[str, str]) -> tuple[int, str]:
    done = await processes.hookkeeper(*command.split(), cwd=folder, settings=settings)
    return done.code, " ".join((done.out + done.err).split())


@pytest.fixture
async def joined(idle_instance: Instance) -> Instance:
    """An instance without a worker, whose namespace belongs to its registry."""
    await installation.join(idle_instance.temporal, idle_instance.settings.task_queue, idle_instance.store.rows)
    return idle_instance


@pytest.fixture
async def wrong(tmp_path: Path) -> str:
    """The URL of another registry."""
    url = url_of(tmp_path / "wrong" / "registry.db")
    async with Store.connect(url) as store:
        await store.migrate()
    return url


async def retrying(instance: Instance, inbox: Receiver, **fields: Any) -> str:
    """Accept an event whose first attempt fails, and stop the worker."""
    inbox.fails(503)
    await instance.webhook(inbox.url, retry=AGAIN)
    async with instance.working():
        event_id: str = (await instance.send(**fields))["id"]
        await instance.until_delivery(event_id, "retrying", 1)
    return event_id


async def until_lost(instance: Instance, event_id: str) -> None:
    """Wait until an attempt has found neither webhook nor event."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            pending = (await instance.run(event_id).describe()).raw_description.pending_activities
            if pending and "has neither the webhook" in pending[0].last_failure.message:
                return
            await asyncio.sleep(0.05)


async def test_migrate_makes_no_registry_for_a_namespace_that_has_one(joined: Instance, tmp_path: Path) -> None:
    """Timeline: the URL has a typo; the tables are made all the same; then the other registry is to be used."""
    typo = tmp_path / "typo.db"
    settings = settings_of(joined, url_of(typo))
    code, output = await run("migrate", tmp_path, settings)
    assert code == 1
    assert "the registry has no tables, and the Temporal namespace" in output
    assert "`hookkeeper migrate --new`" in output
    assert (await run("adopt", tmp_path, settings))[0] == 1, "it has no id"
    assert not typo.exists(), "nothing is made"
    assert (await run("migrate --registry-only", tmp_path, settings))[0] == 0
    for command in ("migrate", "reindex"):
        code, output = await run(command, tmp_path, settings)
        assert code == 1
        assert OTHERS in output
    assert (await run("migrate", tmp_path, settings_of(joined)))[0] == 0
    code, output = await run("adopt", tmp_path, settings)
    assert code == 0, output
    assert (await run("migrate", tmp_path, settings))[0] == 0
    assert (await run("migrate", tmp_path, settings_of(joined)))[0] == 1


async def test_migrate_makes_a_new_registry_on_purpose(joined: Instance, tmp_path: Path) -> None:
    settings = settings_of(joined, url_of(tmp_path / "new.db"))
    assert (await run("migrate --new", tmp_path, settings))[0] == 0
    assert (await run("migrate", tmp_path, settings))[0] == 0
    assert (await run("migrate --new", tmp_path, settings_of(joined)))[0] == 1, "the old one is not new"


async def test_migrate_makes_no_registry_for_events_of_an_installation_without_an_id(
    idle_instance: Instance, tmp_path: Path
) -> None:
    """It was made with `migrate --registry-only`."""
    await idle_instance.send()
    settings = settings_of(idle_instance, url_of(tmp_path / "typo.db"))
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not await installation.has_open_events(idle_instance.temporal, idle_instance.settings.task_queue):
            await asyncio.sleep(0.05)  # visibility lags behind
    code, output = await run("migrate", tmp_path, settings)
    assert (code, "`hookkeeper migrate --new`" in output) == (1, True)
    assert (await run("migrate", tmp_path, settings_of(idle_instance)))[0] == 0
    here = await idle_instance.store.rows.installation()
    assert here
    assert await installation.read(idle_instance.temporal, idle_instance.settings.task_queue) == here.id


async def test_a_worker_with_another_registry_ends_and_decides_nothing(
    joined: Instance, wrong: str, inbox: Receiver, tmp_path: Path
) -> None:
    event_id = await retrying(joined, inbox)
    for command in ("worker", "worker --local"):
        code, output = await run(command, tmp_path, settings_of(joined, wrong))
        assert code == 1
        assert OTHERS in output
    async with joined.working():
        assert (await joined.until_final(event_id))["status"] == "succeeded"


async def test_a_namespace_of_no_registry_is_not_taken_by_one_that_has_a_namespace(
    joined: Instance, bare: Client, tmp_path: Path
) -> None:
    """TEMPORAL_NAMESPACE is missing or has a typo: all events in the registry would be without runs."""
    settings = settings_of(joined) | {"TEMPORAL_NAMESPACE": bare.namespace}
    for command in ("migrate", "reindex", "worker", "worker --local"):
        code, output = await run(command, tmp_path, settings)
        assert code == 1
        assert OTHERS in output
    code, output = await run("adopt", tmp_path, settings)
    assert code == 0, output
    assert (await run("migrate", tmp_path, settings))[0] == 0


async def test_a_worker_waits_for_a_registry_that_is_away(joined: Instance, tmp_path: Path) -> None:
    """It has to know whether it is the right one."""
    settings = settings_of(joined, "postgresql+asyncpg://hook:secret@127.0.0.1:1/hookkeeper")
    async with processes.process("worker", cwd=tmp_path, settings=settings) as worker:
        await worker.says("waiting for the registry", times=3)
        assert not await joined.gateway.readiness.has_worker()
        assert await worker.stop() == 0


@pytest.mark.promise("docs/guarantees.md")
async def test_an_api_with_another_registry_is_not_ready_and_accepts_no_event(
    joined: Instance, wrong: str, temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeline: it starts, an event is posted, and the namespace is joined to its registry on purpose."""
    queue = joined.settings.task_queue

    async def ready(instance: Instance) -> httpx.Response:
        return await instance.http.get("/readyz")

    async def examined(settings: Settings) -> Finding:
        (finding,) = (each for each in await Doctor(settings).examine() if each.check == "installation")
        return finding

    async def metric(instance: Instance) -> float:
        registries = await SystemState(instance.store, instance.gateway).registries()
        values = (registry.get_sample_value("hookkeeper_wrong_registry") for registry in registries)
        (value,) = (value for value in values if value is not None)
        return value

    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.service_client.config.target_host)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", temporal.namespace)
    assert (await ready(joined)).status_code == 200
    assert (await metric(joined), (await examined(joined.settings)).level) == (0, "well")
    async with running_instance(temporal, tmp_path, database_url=wrong, task_queue=queue) as other:
        answer = await ready(other)
        assert answer.status_code == 503
        assert OTHERS in answer.json()["detail"]
        answer = await other.http.post("/v1/events", json={"type": "order.paid", "tenant": other.tenant})
        assert answer.status_code == 503
        assert OTHERS in answer.json()["detail"]
        assert await metric(other) == 1
        found = await examined(other.settings)
        assert (found.level, "`hookkeeper adopt`" in found.remedy) == ("wrong", True)
        await installation.join(temporal, queue, other.store.rows, replace=True)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await ready(other)).status_code != 200:
                await asyncio.sleep(0.1)
        await other.send()
        assert await metric(other) == 0


async def test_a_namespace_of_no_registry_is_a_warning(
    idle_instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", idle_instance.temporal.service_client.config.target_host)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", idle_instance.temporal.namespace)
    found = {finding.check: finding for finding in await Doctor(idle_instance.settings).examine()}
    assert (found["installation"].level, found["installation"].remedy) == ("warning", "`hookkeeper migrate`")
    assert (await idle_instance.http.get("/readyz")).status_code == 200


# A registry that knows neither webhooks nor events, and whose worker works all the same


@asynccontextmanager
async def with_empty_registry(instance: Instance, folder: Path) -> AsyncIterator[Instance]:
    """Work with an empty registry until the block ends: nothing compares its id."""
    queue = instance.settings.task_queue
    async with running_instance(instance.temporal, folder / "empty", task_queue=queue) as other, other.working():
        yield replace(other, tenant=instance.tenant)


@pytest.mark.promise("docs/guarantees.md")
async def test_a_retry_waits_for_the_registry_that_knows_its_webhook(
    idle_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    """Timeline: an event is retried with an empty registry, and then with its own."""
    event_id = await retrying(idle_instance, inbox)
    async with with_empty_registry(idle_instance, tmp_path) as other:
        await until_lost(other, event_id)
    assert (await idle_instance.event(event_id))["status"] == "delivering"
    async with idle_instance.working():
        event = await idle_instance.until_final(event_id)
    assert [attempt["status_code"] for attempt in event["deliveries"][0]["attempts"]] == [503, 200]


async def test_a_delivery_that_waits_for_its_registry_can_be_cancelled(
    idle_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    event_id = await retrying(idle_instance, inbox)
    async with with_empty_registry(idle_instance, tmp_path) as other:
        await until_lost(other, event_id)
        assert (await other.command(event_id, "cancel")).status_code == 404
    async with idle_instance.working():
        assert (await idle_instance.command(event_id, "cancel")).status_code == 202
        event = await idle_instance.until_final(event_id)
    assert (event["status"], event["deliveries"][0]["reason"]) == ("cancelled", None)


async def test_the_first_attempts_of_a_shared_run_wait_for_their_registry(
    idle_instance: Instance, inbox: Receiver, tmp_path: Path
) -> None:
    """Each event on its own would be one more run that waits: the run stays as it is."""
    await idle_instance.webhook(inbox.url)
    bodies = [{"type": "order.paid", "tenant": idle_instance.tenant, "id": f"e{n}"} for n in range(5)]
    answers = await asyncio.gather(*(idle_instance.http.post("/v1/events", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {202}
    query = f"TaskQueue = '{idle_instance.settings.task_queue}'"
    async with with_empty_registry(idle_instance, tmp_path):
        async with asyncio.timeout(WAIT_TIMEOUT):
            async for _ in pauses():
                runs = [run async for run in idle_instance.temporal.list_workflows(query)]
                handles = [idle_instance.temporal.get_workflow_handle(run.id) for run in runs]
                shown = [(await handle.describe()).raw_description.pending_activities for handle in handles]
                if runs and all(pending and pending[0].attempt > MAX_TRIES for pending in shown):
                    break
        assert len([run async for run in idle_instance.temporal.list_workflows(query)]) == len(runs)
    async with idle_instance.working():
        for body in bodies:
            assert (await idle_instance.until_final(body["id"]))["status"] == "succeeded"
    assert len(inbox.requests) == len(bodies)


async def test_a_registry_of_an_older_state_cancels_nothing_before_reindex(
    idle_instance: Instance, inbox: Receiver
) -> None:
    """Timeline: both webhooks of an event fail; the registry loses the event and the newer webhook; a step of the run
    writes the event's row again; `hookkeeper reindex`.
    """
    instance = idle_instance
    inbox.fails(503, 503)
    _, newer = [await instance.webhook(f"{inbox.url}/{name}", retry=AGAIN) for name in ("older", "newer")]
    async with instance.working():
        event_id = (await instance.send())["id"]
        for n in range(2):
            await instance.until_delivery(event_id, "retrying", 1, n=n)
    engine = open_engine(instance.settings.database_url)
    async with engine.begin() as connection:
        for table in ("deliveries", "events"):
            await connection.execute(text(f"DELETE FROM {table}"))
        await connection.execute(text("DELETE FROM webhooks WHERE id = :id"), {"id": newer["id"]})
    await engine.dispose()
    async with instance.working():
        await inbox.got(3)
        await until_lost(instance, event_id)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while not await instance.store.rows.find(instance.tenant, event_id):
                await asyncio.sleep(0.05)
        settings = instance.settings
        await Reindex(instance.temporal, instance.store, settings.task_queue, settings.retention, lambda *_: None).run(
            datetime.now(UTC) - timedelta(hours=1)
        )
        event = await instance.until_final(event_id)
    assert event["deliveries"][1]["reason"] == "webhook_deleted"
