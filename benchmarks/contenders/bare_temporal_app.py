"""`python -m benchmarks.contenders.bare_temporal_app api|worker`: one run an event, with one activity that sends it.

Workflows run outside the SDK's sandbox, and all URLs of an event are in one activity: the cheapest form.
"""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.contenders.app import NewEvent, Webhooks, body_of, create_app, serve

TASK_QUEUE = "bare"
CONNECT_INTERVAL = 0.1
MAX_CONNECTIONS = 200
ATTEMPT_TIMEOUT = timedelta(seconds=20)
REQUEST_TIMEOUT = 15.0


@dataclass
class Event:
    id: str
    body: str
    urls: list[str]


class Sender:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @activity.defn
    async def send(self, event: Event) -> None:
        """Send an event to all its URLs; Temporal repeats that if one fails."""
        await asyncio.gather(*(self._send(event, url) for url in event.urls))

    async def _send(self, event: Event, url: str) -> None:
        headers = {"webhook-id": event.id, "content-type": "application/json"}
        (await self._http.post(url, content=event.body, headers=headers)).raise_for_status()


@workflow.defn
class BareEventWorkflow:
    @workflow.run
    async def run(self, event: Event) -> None:
        await workflow.execute_activity_method(Sender.send, event, start_to_close_timeout=ATTEMPT_TIMEOUT)


async def _connect() -> Client:
    while True:
        with suppress(RuntimeError):  # the server starts
            return await Client.connect(os.environ["BENCH_TEMPORAL"])
        await asyncio.sleep(CONNECT_INTERVAL)


async def _work() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await _connect()
    limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
    async with httpx.AsyncClient(limits=limits, timeout=REQUEST_TIMEOUT, trust_env=False) as http:
        worker = Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[BareEventWorkflow],
            activities=[Sender(http).send],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with worker:
            await stop.wait()
    await asyncio.sleep(0.05)  # sdk-python #300, see docs/internals/temporal.md


def _serve() -> None:
    webhooks = Webhooks(Path(os.environ["BENCH_FOLDER"]) / "webhooks")
    app = create_app(webhooks)
    clients: list[Client] = []

    @app.post("/v1/events", status_code=202)
    async def post_event(event: NewEvent) -> dict[str, str]:
        if not clients:
            clients.append(await Client.connect(os.environ["BENCH_TEMPORAL"], lazy=True))
        started = Event(event.id, body_of(event), webhooks.urls(event.tenant))
        with suppress(WorkflowAlreadyStartedError):
            await clients[0].start_workflow(
                BareEventWorkflow.run, started, id=f"event-{event.tenant}-{event.id}", task_queue=TASK_QUEUE
            )
        return {"id": event.id}

    serve(app, int(os.environ["BENCH_PORT"]))


if __name__ == "__main__":
    if sys.argv[1] == "api":
        _serve()
    else:
        asyncio.run(_work())
