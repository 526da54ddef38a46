"""The processes of the contender: `python -m benchmarks.contenders.celery_app api`, and `celery worker`.

Each URL of an event is a task.
"""

import os
from pathlib import Path
from typing import Any

import httpx
from celery import Celery
from celery.signals import worker_ready

from benchmarks.contenders.app import NewEvent, Webhooks, body_of, create_app, serve

VISIBILITY_TIMEOUT = 30
"""Seconds after which Redis hands out the tasks of a killed worker again; more than a request takes."""
MAX_RETRIES = 10
REQUEST_TIMEOUT = 15.0
MAX_CONNECTIONS = 200

app = Celery(broker=os.environ.get("BENCH_REDIS"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": VISIBILITY_TIMEOUT},
)
limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
http = httpx.Client(limits=limits, timeout=REQUEST_TIMEOUT, trust_env=False)


def _send(task: Any, url: str, event_id: str, body: str) -> None:
    headers = {"webhook-id": event_id, "content-type": "application/json"}
    try:
        http.post(url, content=body, headers=headers).raise_for_status()
    except httpx.HTTPError as error:
        raise task.retry(exc=error, countdown=2**task.request.retries) from error


send = app.task(name="send", bind=True, max_retries=MAX_RETRIES)(_send)


def _report_ready(**_: Any) -> None:
    (Path(os.environ["BENCH_FOLDER"]) / "worker.ready").touch()


worker_ready.connect(_report_ready)


def _serve() -> None:
    webhooks = Webhooks(Path(os.environ["BENCH_FOLDER"]) / "webhooks")
    api = create_app(webhooks)

    @api.post("/v1/events", status_code=202)
    def post_event(event: NewEvent) -> dict[str, str]:
        body = body_of(event)
        for url in webhooks.urls(event.tenant):
            send.delay(url, event.id, body)
        return {"id": event.id}

    serve(api, int(os.environ["BENCH_PORT"]))


if __name__ == "__main__":
    _serve()
