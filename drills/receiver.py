"""Receivers: an HTTP server with a path for each webhook. Every request is recorded."""

import asyncio
import hashlib
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from aiohttp import web

from cli.client.signatures import verify
from drills.answers import Answers, PlannedAnswer
from drills.observations import ReceivedRequest


def digest_of(data: Any) -> str:
    """Return a digest of JSON data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class Receivers:
    """All receivers of a drill. Keys of `answers` and `secrets` are paths."""

    url: str = ""
    answers: dict[str, Answers] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    requests: list[ReceivedRequest] = field(default_factory=list)
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def latest(self) -> float:
        """Return the time of the latest request, or 0."""
        return self.requests[-1].ended if self.requests else 0.0

    async def register(self, http: httpx.AsyncClient, name: str, answer: Answers, **fields: Any) -> str:
        """Register a webhook whose receiver answers as given; return its id."""
        body = {"url": f"{self.url}/{name}", "name": name, **fields}
        webhook = (await http.post("/v1/webhooks", json=body)).raise_for_status().json()
        self.answers[name], self.secrets[name] = answer, webhook["secret"]
        return str(webhook["id"])

    async def receive(self, request: web.Request) -> web.Response:
        """Answer a request, and record it."""
        arrived, name, body = time.time(), request.match_info["name"], await request.read()
        event_id = request.headers["webhook-id"]
        self._seen[event_id, name] += 1
        answer = self.answers[name](event_id, self._seen[event_id, name])
        digest = digest_of(json.loads(body)["data"]) if verify([self.secrets[name]], request.headers, body) else ""
        await asyncio.sleep(answer.delay)
        self.requests.append(ReceivedRequest(event_id, name, arrived, time.time(), answer.status, digest))
        if answer.status is None:
            _close_connection(request, answer)
        return web.Response(status=answer.status or 500)


def _close_connection(request: web.Request, answer: PlannedAnswer) -> None:
    if request.transport is None:  # the client has closed it
        return
    if answer.how == "reset":
        request.transport.abort()
    else:
        request.transport.close()


@asynccontextmanager
async def serving(
    receive: Callable[[web.Request], Awaitable[web.Response]],
    *contexts: ssl.SSLContext,
    address: str = "127.0.0.1",
) -> AsyncIterator[list[int]]:
    """Serve HTTP, and HTTPS with each of the contexts, until the block ends; yield the ports."""
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_post("/{name:.*}", receive)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        for context in (None, *contexts):
            await web.TCPSite(runner, address, 0, backlog=1024, ssl_context=context).start()
        yield [address[1] for address in runner.addresses]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receivers]:
    """Serve on a free port until the block ends."""
    state = Receivers()
    async with serving(state.receive) as (port,):
        state.url = f"http://127.0.0.1:{port}"
        yield state
