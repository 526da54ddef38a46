"""The receiver: a process that answers deliveries, and knows when each one arrived.

It listens on `/<behaviour>/<group>/<number>`; an event is known by its header `webhook-id`.
"""

import asyncio
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from benchmarks.child import Child, Json, serve, start_child
from benchmarks.stream import Arrivals
from drills.supervisor import Supervisor

ACCEPT, REFUSE, HANG = "accept", "refuse", "hang"
"""Behaviours: answer 200; answer 503; never answer."""
RESPONSES = {
    ACCEPT: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    REFUSE: b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
}
POLL_INTERVAL = 0.01
ANSWER_TIMEOUT = 30.0
BACKLOG = 1024


class Receiver:
    """The receiver, as the benchmarks use it."""

    def __init__(self, child: Child, port: int) -> None:
        self._child = child
        self._port = port

    @property
    def pid(self) -> int:
        return self._child.pid

    def url(self, group: str, number: int = 0, behaviour: str = ACCEPT) -> str:
        return f"http://127.0.0.1:{self._port}/{behaviour}/{group}/{number}"

    async def wait(self, group: str, deliveries: int, seconds: float) -> int:
        """Wait until this many deliveries have arrived, or the time is over; return how many there are."""
        request = {"do": "wait", "group": group, "deliveries": deliveries, "seconds": seconds}
        answer = await self._child.ask(request, seconds + ANSWER_TIMEOUT)
        return int(answer["deliveries"])

    async def arrivals(self, group: str) -> Arrivals:
        return Arrivals(**await self._child.ask({"do": "arrivals", "group": group}, ANSWER_TIMEOUT))


async def start_receiver(supervisor: Supervisor, folder: Path) -> Receiver:
    """Run a receiver in a process of its own."""
    child = await start_child(supervisor, folder, "benchmarks.receiver")
    return Receiver(child, int((await child.ask({"do": "port"}, ANSWER_TIMEOUT))["port"]))


class _Log:
    """All arrivals, by group."""

    def __init__(self) -> None:
        self.groups: defaultdict[str, Arrivals] = defaultdict(Arrivals)
        self._seen: set[tuple[str, str]] = set()

    def add(self, path: str, event_id: str) -> None:
        now = time.monotonic()
        arrivals = self.groups[path.split("/")[2]]
        arrivals.requests += 1
        if (path, event_id) in self._seen:
            return
        self._seen.add((path, event_id))
        arrivals.deliveries += 1
        arrivals.last = now
        arrivals.first.setdefault(event_id, now)


class _Connection(asyncio.Protocol):
    """Answers the requests of one connection. Bodies need a `content-length`."""

    def __init__(self, log: _Log) -> None:
        self._log = log
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._handle_request():
            pass

    def _handle_request(self) -> bool:
        """Answer the next request; False if it has not arrived as a whole."""
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return False
        request, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return False
        self._received = rest[length:]
        path = request.split(" ")[1]
        self._log.add(path, headers["webhook-id"])
        assert self._transport is not None
        if response := RESPONSES.get(path.split("/")[1]):
            self._transport.write(response)
        return True


async def _main() -> None:
    log = _Log()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(log), "127.0.0.1", 0, backlog=BACKLOG)

    async def handle(request: Json) -> Json:
        if request["do"] == "port":
            return {"port": server.sockets[0].getsockname()[1]}
        group = log.groups[request["group"]]
        if request["do"] == "wait":
            deadline = time.monotonic() + request["seconds"]
            while group.deliveries < request["deliveries"] and time.monotonic() < deadline:
                await asyncio.sleep(POLL_INTERVAL)
            return {"deliveries": group.deliveries}
        return asdict(group)

    await serve(handle)


if __name__ == "__main__":
    asyncio.run(_main())
