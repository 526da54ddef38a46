"""A real receiver for tests: an HTTP server on a free port that answers as scripted and records its requests."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from timeouts import WAIT_TIMEOUT


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    """Seconds of the event loop's clock."""

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    gate: asyncio.Event | None = None
    """The answer waits until it is set."""
    echoes: bool = False
    """The body is what was received: the headers as JSON, and in `x-echo` the signature."""


@dataclass
class Receiver:
    """Answers with each of `answers` once, then with `otherwise`."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    otherwise: Answer = field(default_factory=Answer)
    requests: list[Request] = field(default_factory=list)

    def fails(self, *statuses: int) -> None:
        self.answers += [Answer(status, f"answer {status}") for status in statuses]

    async def got(self, count: int, seconds: float = WAIT_TIMEOUT) -> list[Request]:
        """Wait until `count` requests have arrived."""
        async with asyncio.timeout(seconds):
            while len(self.requests) < count:
                await asyncio.sleep(0.01)
        return self.requests


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """Serve until the block ends."""
    state = Receiver("")

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        arrived = Request(request.path_qs, headers, await request.read(), asyncio.get_running_loop().time())
        state.requests.append(arrived)
        answer = state.answers.pop(0) if state.answers else state.otherwise
        await asyncio.sleep(answer.delay)
        if answer.gate:
            await answer.gate.wait()
        if answer.echoes:
            echo = {"x-echo": headers.get("webhook-signature", "")}
            return web.Response(status=answer.status, text=json.dumps(headers), headers=echo)
        return web.Response(status=answer.status, text=answer.body, headers=answer.headers)

    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield state
    finally:
        await runner.cleanup()
