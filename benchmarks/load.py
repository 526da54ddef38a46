"""The load generator: a process that posts events and measures the time until each is answered."""

import asyncio
import json
import random
import string
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import NamedTuple, Self

from benchmarks.child import Child, Json, serve
from benchmarks.stream import Posted, Stream

REQUEST_TIMEOUT = 60.0
REPEAT_INTERVAL = 0.05
TOO_MANY_REQUESTS = 429
STOP_MARGIN = 30.0
TEXT = "".join(random.Random(0).choices(string.ascii_letters, k=2**20))
"""Databases cannot compress it."""


class Load:
    """The load generator, as the benchmarks use it."""

    def __init__(self, child: Child, port: int, key: str) -> None:
        self._child = child
        self._target = {"port": port, "key": key}

    @property
    def pid(self) -> int:
        return self._child.pid

    async def post(self, stream: Stream) -> Posted:
        """Post the events of a stream."""
        request = {"do": "post", "stream": asdict(stream), **self._target}
        return Posted(**await self._child.ask(request, stream.seconds + REQUEST_TIMEOUT + STOP_MARGIN))

    async def stop(self, group: str) -> None:
        """End the stream of a group, even if events are left."""
        await self._child.ask({"do": "stop", "group": group}, STOP_MARGIN)


class ConnectionPool:
    """Posts JSON over at most `size` connections to a port of this machine, which are kept open.

    It needs little CPU, so that the load generator takes little from what it measures.
    """

    def __init__(self, port: int, key: str, size: int) -> None:
        self._port = port
        self._headers = f"host: 127.0.0.1\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Connection] = []

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises `OSError` and `EOFError`."""
        async with self._slots:
            connection = self._idle.pop() if self._idle else await _Connection.open(self._port)
            try:
                head = f"POST {path} HTTP/1.1\r\n{self._headers}content-length: {len(body)}\r\n\r\n"
                answer = await connection.request(head.encode() + body)
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
            return answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._idle:
            connection.close()


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def request(self, request: bytes) -> tuple[int, bytes]:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status, *lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        body = await self._reader.readexactly(int(headers["content-length"]))
        return int(status.split(" ")[1]), body

    def close(self) -> None:
        self._writer.close()


class _Refusal(NamedTuple):
    reason: str
    is_permanent: bool = False


@dataclass
class _Poster:
    """Posts one stream."""

    stream: Stream
    pool: ConnectionPool
    is_stopped: bool = False
    sent: list[float] = field(default_factory=list)
    answered: list[float | None] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    _bodies: list[bytes] = field(init=False)
    _deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self._bodies = [_body(self.stream, number) for number in range(0, self.stream.events, self.stream.batch)]
        self._deadline = time.monotonic() + self.stream.seconds

    async def post_all(self) -> Posted:
        """Post until all events are posted, or the time is over."""
        stream = self.stream
        if stream.rate is None:
            await asyncio.gather(*(self._post_in_turn() for _ in range(stream.clients)))
        else:
            await self._post_at_rate(stream.rate)
        return Posted(self.sent, self.answered, dict(self.refusals))

    @property
    def _is_over(self) -> bool:
        return self.is_stopped or len(self.sent) >= self.stream.events or time.monotonic() > self._deadline

    async def _post_in_turn(self) -> None:
        while not self._is_over:
            await self._post(self._next())
            if self.stream.pause:
                await asyncio.sleep(self.stream.pause)

    async def _post_at_rate(self, rate: float) -> None:
        due = time.monotonic() + self.stream.shift
        async with asyncio.TaskGroup() as posting:
            while not self._is_over:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                for _ in range(self.stream.burst):
                    posting.create_task(self._post(self._next()))
                due += 1 / rate

    def _next(self) -> int:
        """Take the next event, or the first of the next batch."""
        number = len(self.sent)
        count = min(self.stream.batch, self.stream.events - number)
        self.sent += [time.monotonic()] * count
        self.answered += [None] * count
        return number

    async def _post(self, number: int) -> None:
        """Post an event or a batch, again and again with the same ids while it is refused for now."""
        body = self._bodies[number // self.stream.batch]
        while refusal := await self._refusal_of(body):
            self.refusals[refusal.reason] += 1
            if refusal.is_permanent or time.monotonic() > self._deadline:
                return
            await asyncio.sleep(REPEAT_INTERVAL)
        now = time.monotonic()
        for index in range(number, min(number + self.stream.batch, len(self.answered))):
            self.answered[index] = now

    async def _refusal_of(self, body: bytes) -> _Refusal | None:
        """Post a body; return None if it was accepted."""
        path = "/v1/events" if self.stream.batch == 1 else "/v1/events/batch"
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                status, answer = await self.pool.post(path, body)
        except (OSError, EOFError, TimeoutError) as error:
            return _Refusal(type(error).__name__)
        if status // 100 != 2:
            return _Refusal(f"status {status}", is_permanent=status < 500 and status != TOO_MANY_REQUESTS)
        if self.stream.batch > 1 and _failed_of_batch(answer):
            return _Refusal("events of a batch")
        return None


def _failed_of_batch(answer: bytes) -> int:
    return sum(event["status"] // 100 != 2 for event in json.loads(answer)["items"])


def _body(stream: Stream, number: int) -> bytes:
    """Return an event, or a batch."""
    numbers = range(number, min(number + stream.batch, stream.events))
    events = [_event(stream, n) for n in numbers]
    return json.dumps(events[0] if stream.batch == 1 else {"events": events}).encode()


def _event(stream: Stream, number: int) -> Json:
    tenants = stream.tenants or (stream.group,)
    tenant = tenants[number % len(tenants)]
    event: Json = {"id": f"{stream.group}-{number}", "type": stream.type, "tenant": tenant, "data": {"text": ""}}
    begin = number * 499 % (len(TEXT) // 2)
    return {**event, "data": {"text": TEXT[begin : begin + max(0, stream.size - len(json.dumps(event)))]}}


async def _main() -> None:
    posters: dict[str, _Poster] = {}

    async def handle(request: Json) -> Json:
        if request["do"] == "stop":
            if poster := posters.get(request["group"]):
                poster.is_stopped = True
            return {}
        stream = Stream(**request["stream"])
        async with ConnectionPool(request["port"], request["key"], stream.clients) as pool:
            posters[stream.group] = _Poster(stream, pool)
            return asdict(await posters[stream.group].post_all())

    await serve(handle)


if __name__ == "__main__":
    asyncio.run(_main())
