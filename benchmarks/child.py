"""A child process that answers requests of one JSON line each on a socket, a connection each."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drills.supervisor import Service, Supervisor

LINE_LIMIT = 256 * 1024 * 1024
Json = dict[str, Any]
Handler = Callable[[Json], Awaitable[Json]]


class ChildFailed(Exception):
    """A child process did not answer, or not in time."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running child process."""

    name: str
    pid: int
    socket: Path

    async def ask(self, request: Json, timeout: float) -> Json:
        """Send a request and return its answer. Raises `ChildFailed`."""
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_unix_connection(self.socket, limit=LINE_LIMIT)
                with closing(writer):
                    writer.write(json.dumps(request).encode() + b"\n")
                    answer: Json = json.loads(await reader.readline())
        except (OSError, ValueError) as error:
            raise ChildFailed(f"the {self.name} did not answer: {error!r}") from None
        if "error" in answer:
            raise ChildFailed(f"{self.name}: {answer['error']}")
        return answer


async def start_child(supervisor: Supervisor, folder: Path, module: str) -> Child:
    """Run `python -m <module>` as a service, with its socket in a folder."""
    name = module.rpartition(".")[2]
    socket = folder / f"{name}.sock"

    async def is_ready() -> bool:
        with suppress(OSError):  # the file is there a moment before the child listens
            _, writer = await asyncio.open_unix_connection(socket)
            writer.close()
            return True
        return False

    await supervisor.start(Service(name, [sys.executable, "-m", module, str(socket)], is_ready))
    pid = supervisor.pid(name)
    assert pid
    return Child(name, pid, socket)


async def serve(handle: Handler) -> None:
    """Answer requests on the socket that the command line names. An error of a request is its answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            try:
                result = await handle(json.loads(await reader.readline()))
            except Exception as error:  # noqa: BLE001 - the parent reports it
                result = {"error": repr(error)}
            writer.write(json.dumps(result).encode() + b"\n")

    async with await asyncio.start_unix_server(answer, sys.argv[1], limit=LINE_LIMIT) as server:
        await server.serve_forever()
