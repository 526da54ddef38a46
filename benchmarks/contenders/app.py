"""The API of the contenders other than Hookkeeper. It imports nothing of Hookkeeper, whose memory it would count."""

import json
import socket
from collections import defaultdict
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class NewWebhook(BaseModel):
    tenant: str
    url: str


class NewEvent(BaseModel):
    id: str
    type: str
    tenant: str
    data: dict[str, Any]


class Webhooks:
    """The URLs of each tenant, in a file so that they outlive a `kill -9`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._urls: defaultdict[str, list[str]] = defaultdict(list)
        if file.exists():
            for line in file.read_text().splitlines():
                self._remember(NewWebhook.model_validate_json(line))

    def add(self, webhook: NewWebhook) -> None:
        with self._file.open("a") as file:
            file.write(webhook.model_dump_json() + "\n")
        self._remember(webhook)

    def urls(self, tenant: str) -> list[str]:
        return self._urls.get(tenant, [])

    def _remember(self, webhook: NewWebhook) -> None:
        self._urls[webhook.tenant].append(webhook.url)


def create_app(webhooks: Webhooks) -> FastAPI:
    """Make an API without its route for events."""
    app = FastAPI()

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/webhooks", status_code=201)
    async def post_webhook(webhook: NewWebhook) -> NewWebhook:
        webhooks.add(webhook)
        return webhook

    return app


def serve(app: FastAPI, port: int) -> None:
    """Serve until stopped, with the settings of uvicorn that Hookkeeper uses."""
    config = uvicorn.Config(app, http="httptools", ws="none", log_level="warning", access_log=False)
    # asyncio disables Nagle's algorithm only for sockets that are made with their protocol.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(2048)
    uvicorn.Server(config).run([listener])


def body_of(event: NewEvent) -> str:
    """Return the body of a delivery."""
    return json.dumps({"id": event.id, "type": event.type, "data": event.data})
