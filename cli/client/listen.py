"""`hookkeeper listen`: a receiver that verifies the signature over the received bytes, answers, and prints requests.

A request without signature headers is a notification, because notifications are not signed.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass
from typing import Literal
from urllib.parse import urlsplit

import typer
from aiohttp import web
from rich.markup import escape

from cli.client.api import Api
from cli.client.signatures import SIGNATURE_HEADERS, check_keys, verify
from cli.console import Failed, err, out, print_failure
from cli.processes import forever, run, until_stopped

MAX_BODY = 4 * 1024 * 1024
READ_INTERVAL = 1.0
"""Seconds between two reads of the keys."""
MAX_PRINTED_BODY = 2000
"""Characters of a body that are printed; `--json` prints all."""
SIGNATURES = {
    True: "[green]signature verified[/green]",
    False: "[red]wrong signature[/red]",
    None: "[yellow]signature not verified: no webhook has this port, and --secret is not set[/yellow]",
}


@dataclass(frozen=True, slots=True)
class Received:
    """One request, and the status of its response."""

    number: int
    method: str
    path: str
    channel: Literal["webhook", "notification"]
    webhook_id: str
    timestamp: str
    body: bytes
    verified: bool | None
    """None: there was no key, or no signature."""
    status: int


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Responses: 503 to the first `fail` webhooks, `status` to all other requests, each after `delay` seconds."""

    fail: int = 0
    status: int = 200
    delay: float = 0.0


def run_listen(port: int, behaviour: Behaviour, secrets: list[str], *, as_json: bool) -> None:
    """Receive until stopped. Port 0 selects a free one; without secrets, they are read from the API."""
    check_keys(secrets)
    run(_listen(port, behaviour, secrets, as_json))


async def _listen(port: int, behaviour: Behaviour, secrets: list[str], as_json: bool) -> None:
    bound = port
    keys = Keys(secrets) if secrets else Keys([], lambda: _keys_of_port(bound))
    try:
        async with until_stopped(), receiving(port, behaviour, keys, _print_json if as_json else _print) as bound:
            await keys.read_again()
            console = err if as_json else out
            console.print(f"Listening on [bold]http://127.0.0.1:{bound}/[/bold]. Ctrl-C stops it.")
            await forever()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise Failed(f"cannot listen on port {port}: {reason}") from error


def _keys_of_port(port: int) -> list[str]:
    """Return the keys of the webhooks with this port, from the API. Raises `Failed`."""
    with closing(Api.of_environment()) as api:
        webhooks = [webhook["id"] for webhook in api.all("webhooks") if _port(webhook["url"]) == port]
        return [api.call("GET", "webhooks", id_, "secret")["secret"] for id_ in webhooks]


def _port(url: str | None) -> int | None:
    parts = urlsplit(url or "")
    return parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _print(received: Received) -> None:
    color = "green" if received.status < 300 else "red"
    body = received.body.decode(errors="replace")
    more = f"… ({len(body)} characters)" if len(body) > MAX_PRINTED_BODY else ""
    out.print(
        f"#{received.number}  [{color}]{received.status}[/{color}]  {_description(received)}"
        f"\n    {escape(body[:MAX_PRINTED_BODY])}{more}"
    )


def _description(received: Received) -> str:
    if received.channel == "notification":
        return f"{escape(f'{received.method} {received.path}')}  notification, not signed"
    return f"{escape(received.webhook_id)}  {SIGNATURES[received.verified]}"


def _print_json(received: Received) -> None:
    typer.echo(json.dumps(asdict(received) | {"body": received.body.decode(errors="replace")}))


# The receiver


class Keys:
    """The keys that verify signatures. If none does, they are read again: a webhook is new, or its key was rotated."""

    def __init__(self, known: list[str], read: Callable[[], list[str]] | None = None) -> None:
        """`read` gets the keys, in a thread, and raises `Failed`; without it, only the known ones count."""
        self.known = known
        self._read = read
        self._next: asyncio.Task[None] | None = None
        """The read that requests without a verified signature wait for."""
        self._reading = asyncio.Lock()
        self._may_read_at = 0.0

    async def verify(self, headers: Mapping[str, str], body: bytes) -> bool | None:
        """Return whether one of the keys verifies the signature; None without keys."""
        verified = verify(self.known, headers, body)
        if verified or self._read is None:
            return verified
        await self.read_again()
        return verify(self.known, headers, body)

    async def read_again(self) -> None:
        """Wait for a read that begins now, or once the interval is over. Requests that wait share one."""
        if self._read is None:
            return
        if self._next is None:
            self._next = asyncio.create_task(self._read_next(self._read))
        await asyncio.shield(self._next)

    async def _read_next(self, read: Callable[[], list[str]]) -> None:
        async with self._reading:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(self._may_read_at - loop.time())
            self._may_read_at, self._next = loop.time() + READ_INTERVAL, None
            try:
                self.known = await asyncio.to_thread(read)
            except Failed as failure:
                print_failure(failure)


@asynccontextmanager
async def receiving(
    port: int, behaviour: Behaviour, keys: Keys, on_request: Callable[[Received], None]
) -> AsyncIterator[int]:
    """Serve on the loopback address until the block ends, and yield the port; port 0 selects a free one."""
    count = webhooks = 0

    async def receive(request: web.Request) -> web.Response:
        nonlocal count, webhooks
        is_webhook = any(name in request.headers for name in SIGNATURE_HEADERS)
        count, webhooks = count + 1, webhooks + is_webhook
        number, fails, body = count, is_webhook and webhooks <= behaviour.fail, await request.read()
        verified = await keys.verify(request.headers, body) if is_webhook else None
        await asyncio.sleep(behaviour.delay)
        status, text = _response(verified, fails, behaviour)
        on_request(
            Received(
                number=number,
                method=request.method,
                path=request.path,
                channel="webhook" if is_webhook else "notification",
                webhook_id=request.headers.get("webhook-id", ""),
                timestamp=request.headers.get("webhook-timestamp", ""),
                body=body,
                verified=verified,
                status=status,
            )
        )
        return web.Response(status=status, text=text)

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _response(verified: bool | None, fails: bool, behaviour: Behaviour) -> tuple[int, str]:
    if verified is False:
        return 401, "wrong signature"
    if fails:
        return 503, "temporarily unavailable"
    return behaviour.status, "ok" if behaviour.status < 300 else "refused"
