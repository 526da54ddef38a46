"""An instance of Hookkeeper in a test: real Temporal, registry and API, a worker that can be started and stopped."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from temporalio.api.enums.v1 import EventType, TaskQueueType
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

import worker
from endings import ends
from event_loops import starting
from hookkeeper import ids, task_queues
from hookkeeper.crypto.keyring import Keyring
from hookkeeper.registry.store import Store
from hookkeeper.search_attributes import TENANT_KEY
from hookkeeper.settings import Settings
from hookkeeper.temporal.events.run_state import find_run
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.server.data_converter import data_converter
from hookkeeper.temporal.server.readiness import describe_queue
from instance_parts import app_of, empty_registry, new_app
from timeouts import WAIT_TIMEOUT, pauses

KEY = "a-key-for-tests-only"
REGISTRY = "registry.db"
FINAL = ("succeeded", "failed", "cancelled", "no_webhook")


@dataclass
class Instance:
    """Everything wired as in production, but for the sockets of the API."""

    temporal: Client
    store: Store
    settings: Settings
    gateway: Gateway
    http: httpx.AsyncClient
    app: FastAPI
    tenant: str

    def for_new_tenant(self) -> "Instance":
        """Return the same instance, used for a tenant that is new."""
        return replace(self, tenant=f"t{uuid.uuid4().hex[:12]}")

    async def end_runs(self) -> None:
        """End the runs that the tenant has left open: they would go on delivering beside later tests."""
        query = f"{TENANT_KEY.name} = '{self.tenant}' AND ExecutionStatus = 'Running'"
        async for run in self.temporal.list_workflows(query):
            with suppress(RPCError):  # it has ended meanwhile
                await self.temporal.get_workflow_handle(run.id, run_id=run.run_id).terminate("its test is over")

    async def empty_catalogue(self) -> None:
        """Remove the event types that there are, which all tenants share."""
        while items := (await self.http.get("/v1/event-types", params={"limit": 100})).json()["items"]:
            for item in items:
                await self.http.delete(f"/v1/event-types/{item['name']}")

    async def webhook(self, url: str | None, **fields: Any) -> dict[str, Any]:
        """Register a webhook."""
        answer = await self.http.post("/v1/webhooks", json={"url": url, "tenant": self.tenant, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def send(self, type_: str = "order.paid", **fields: Any) -> dict[str, Any]:
        """Post an event; repeat it with its id while a busy machine lets the registry or Temporal time out."""
        event = {"type": type_, "tenant": self.tenant, **fields}
        answer = await self.http.post("/v1/events", json=event)
        async with asyncio.timeout(WAIT_TIMEOUT):
            while answer.status_code == 503:
                event["id"] = answer.headers["hookkeeper-event-id"]
                answer = await self.http.post("/v1/events", json=event)
        assert answer.status_code in (200, 202), answer.text
        await self.settled()
        return answer.json()  # type: ignore[no-any-return]

    async def settled(self) -> None:
        """Wait until the runs of all accepted events are started, or their starts have failed."""
        await self.app.state.api.ingest.starts.settled()

    async def event(self, event_id: str) -> dict[str, Any]:
        """Show an event."""
        answer = await self.http.get(f"/v1/events/{event_id}", params={"tenant": self.tenant})
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def command(self, event_id: str, command: str, delivery: str | None = None) -> httpx.Response:
        """Steer an event."""
        return await self.http.post(
            f"/v1/events/{event_id}/{command}", params={"tenant": self.tenant}, json={"delivery": delivery}
        )

    async def until(self, event_id: str, *statuses: str, seconds: float = WAIT_TIMEOUT) -> dict[str, Any]:
        """Wait until the event has one of the statuses; give it as it is then.

        A query of a run in a killed worker's cache gets 503 until Temporal gives up that worker's sticky queue.
        """
        return await self._until(event_id, lambda event: event["status"] in statuses, seconds)

    async def until_final(self, event_id: str, seconds: float = WAIT_TIMEOUT) -> dict[str, Any]:
        return await self.until(event_id, *FINAL, seconds=seconds)

    async def until_closed(self, event_id: str) -> dict[str, Any]:
        """Wait until the run, and each of its siblings, has ended."""
        await self.settled()
        part = 1
        async with asyncio.timeout(WAIT_TIMEOUT):
            async for _ in pauses():
                while (run := await self._run(event_id, part)) and run.status != WorkflowExecutionStatus.RUNNING:
                    part += 1
                if run is None:
                    break
        return await self.event(event_id)

    async def _run(self, event_id: str, part: int) -> WorkflowExecutionDescription | None:
        return await find_run(self.temporal, ids.run_of(self.tenant, event_id, part))

    async def until_cancelled(self, event_id: str) -> None:
        """Wait until Temporal shows the event's run as cancelled."""
        async with asyncio.timeout(WAIT_TIMEOUT):
            while (await self.run(event_id).describe()).status != WorkflowExecutionStatus.CANCELED:
                await asyncio.sleep(0.03)

    async def until_delivery(self, event_id: str, status: str, attempts: int = 0, n: int = 0) -> dict[str, Any]:
        """Wait until the nth delivery has the status and at least this many attempts."""

        def is_there(event: dict[str, Any]) -> bool:
            delivery = event["deliveries"][n]
            return delivery["status"] == status and len(delivery["attempts"]) >= attempts

        return await self._until(event_id, is_there, WAIT_TIMEOUT)

    async def _until(self, event_id: str, is_there: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            async for _ in pauses():
                answer = await self.http.get(f"/v1/events/{event_id}", params={"tenant": self.tenant})
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200 and is_there(answer.json()):
                    break
            return answer.json()  # type: ignore[no-any-return]

    async def until_polled(self) -> None:
        """Wait until a worker polls each task queue."""
        activity = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
        async with asyncio.timeout(WAIT_TIMEOUT):
            for queue in task_queues.by_kind(self.settings.task_queue).values():
                async for _ in pauses():
                    if (await describe_queue(self.temporal, queue, activity)).pollers:
                        break
            while not await self.gateway.readiness.has_worker():
                await asyncio.sleep(0.05)

    def run(self, event_id: str) -> WorkflowHandle[Any, Any]:
        """Return the run of an event, as the Temporal CLI would address it."""
        return self.temporal.get_workflow_handle(ids.workflow_id(self.tenant, event_id))

    async def until_in_history(self, event_id: str, kind: EventType.ValueType) -> None:
        """Wait until the history of the event's run has an event of this kind. This needs no worker."""
        async with asyncio.timeout(WAIT_TIMEOUT):
            async for _ in pauses():
                history = await self.run(event_id).fetch_history()
                if any(event.event_type == kind for event in history.events):
                    return

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run a worker for as long as the block. It fails where the worker does not stop in time."""
        ready, stop = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            async with AsyncExitStack() as stack:
                with starting():
                    await stack.enter_async_context(worker.running(self.temporal, self.store, self.settings))
                ready.set()
                await stop.wait()

        working = asyncio.create_task(work(), name="worker")
        is_ready = asyncio.create_task(ready.wait())
        await asyncio.wait([working, is_ready], return_when=asyncio.FIRST_COMPLETED)
        is_ready.cancel()
        try:
            if working.done():
                await working
            yield
        finally:
            stop.set()
            await ends(working, self.settings.shutdown_timeout.total_seconds() + WAIT_TIMEOUT)


def with_keys(temporal: Client, keyring: Keyring) -> Client:
    """Return a client of the same server that encrypts."""
    return Client(temporal.service_client, namespace=temporal.namespace, data_converter=data_converter(keyring))


@asynccontextmanager
async def running_instance(temporal: Client, folder: Path, **settings: Any) -> AsyncIterator[Instance]:
    """Make an instance with its own task queue, tenant and registry."""
    unique = uuid.uuid4().hex[:12]
    chosen = Settings(
        admin_key=SecretStr(KEY),
        allowed_networks=("127.0.0.0/8",),
        temporal_ui_url="http://temporal-ui.test",
        **{
            "min_schedule_interval": 1,
            "max_webhooks_per_tenant": 1000,
            "database_url": f"sqlite+aiosqlite:///{folder / REGISTRY}",
            "task_queue": f"test-{unique}",
            **settings,
        },
    )
    keyring = chosen.keyring
    store = Store.connect(chosen.database_url, keyring)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        with starting():
            if "database_url" in settings:
                await store.migrate()
            elif not (folder / REGISTRY).exists():  # an earlier instance in this folder keeps its webhooks
                folder.mkdir(parents=True, exist_ok=True)
                (folder / REGISTRY).write_bytes(await empty_registry(folder))
            if keyring:
                temporal = with_keys(temporal, keyring)
            gateway = Gateway(temporal, chosen.task_queue, store.rows)
            app = stack.enter_context(app_of(chosen, store, gateway))
        await stack.enter_async_context(app.router.lifespan_context(app))
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False),
                base_url="http://hookkeeper.test",
                headers={"authorization": f"Bearer {KEY}"},
                timeout=30,
            )
        )
        yield Instance(temporal, store, chosen, gateway, http, app, tenant=f"t{unique}")


@asynccontextmanager
async def another_process(
    instance: Instance, *, temporal: Client | None = None, **settings: Any
) -> AsyncIterator[Instance]:
    """Serve the same registry and the same task queue, with other settings, or another connection to Temporal."""
    temporal = temporal or instance.temporal
    chosen = instance.settings.model_copy(update=settings)
    with starting():
        store = Store.connect(chosen.database_url)
        gateway = Gateway(temporal, chosen.task_queue, store.rows)
        app = new_app(chosen, store, gateway)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://hookkeeper.test",
            headers={"authorization": f"Bearer {KEY}"},
            timeout=30,
        ) as http,
    ):
        yield Instance(temporal, store, chosen, gateway, http, app, instance.tenant)
    await store.close()


@asynccontextmanager
async def without_registry(instance: Instance) -> AsyncIterator[None]:
    """Take the registry's database away for as long as the block, and put something unusable in its place.

    Each is one step: where there is no file for a moment, a connection would make an empty one.
    """
    database = Path(instance.settings.database_url.removeprefix("sqlite+aiosqlite:///"))
    aside, unusable = database.with_suffix(".aside"), database.with_suffix(".unusable")
    await instance.store.close()
    aside.hardlink_to(database)
    unusable.symlink_to(database.parent, target_is_directory=True)
    unusable.replace(database)
    try:
        yield
    finally:
        aside.replace(database)
