"""A child process that answers requests of one JSON line each, several at once.

It ends when its standard input is closed, which also happens when its parent is killed.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

LINE_LIMIT = 256 * 1024 * 1024
STOP_TIMEOUT = 5.0
Json = dict[str, Any]
Handler = Callable[[Json], Awaitable[Json]]


class ChildFailed(Exception):
    """A child process ended, or did not answer in time."""


class BenchProcess:
    """A running child process."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._number = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, request: Json, timeout: float) -> Json:
        """Send a request and return its answer. Raises `ChildFailed`."""
        if self._process.returncode is not None:
            raise ChildFailed(f"the {self._name} has ended")
        assert self._process.stdin is not None
        self._number += 1
        number, answer = self._number, asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._process.stdin.write(json.dumps({"number": number, **request}).encode() + b"\n")
        try:
            async with asyncio.timeout(timeout):
                result: Json = await answer
        except TimeoutError:
            raise ChildFailed(f"the {self._name} did not answer within {timeout:.0f} s") from None
        finally:
            self._waiting.pop(number, None)
        if "error" in result:
            raise ChildFailed(f"{self._name}: {result['error']}")
        return result

    async def read_answers(self) -> None:
        """Pass answers on until the child ends."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            if waiting := self._waiting.get(answer.pop("number")):
                waiting.set_result(answer)
        for waiting in self._waiting.values():
            waiting.set_exception(ChildFailed(f"the {self._name} has ended"))


@asynccontextmanager
async def running_child(name: str, module: str) -> AsyncIterator[BenchProcess]:
    """Run `python -m <module>` until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT,
        start_new_session=True,
    )
    child = BenchProcess(name, process)
    reading = asyncio.create_task(child.read_answers())
    try:
        yield child
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        reading.cancel()
        await asyncio.wait([reading])


async def serve(handle: Handler) -> None:
    """Answer the requests on standard input until it is closed. An error of a request is its answer."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()

    async def answer(request: Json) -> None:
        number = request.pop("number")
        try:
            result = await handle(request)
        except Exception as error:  # noqa: BLE001 - the parent reports it
            result = {"error": repr(error)}
        sys.stdout.write(json.dumps({"number": number, **result}) + "\n")
        sys.stdout.flush()

    while line := await lines.readline():
        task = asyncio.create_task(answer(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()
    with suppress(BrokenPipeError):
        sys.stdout.close()
