"""The child processes of `elements.sandbox`, and one more than are needed, so that nobody waits for one to start.

A child is a bare Python that imports only what it is asked to run. It inherits no open file and no secret of ours, and
it ends when we do, however that comes.
"""

import asyncio
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from elements.sandboxed import LENGTH, READY

_START_SECONDS = 30.0
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from elements.sandboxed import main; main()"
_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class SandboxUnavailable(RuntimeError):
    """No child can be had: this machine is to blame, and neither a tenant nor a bug."""


class Child:
    """A child process, and our end of its socket."""

    def __init__(self, cpu_seconds: float, memory: int) -> None:
        self._connection, theirs = socket.socketpair()
        self._connection.setblocking(False)
        try:
            with theirs:
                self.process = _process(theirs, cpu_seconds, memory)
        except OSError:
            self._connection.close()
            raise

    async def ask(self, request: bytes) -> bytes:
        """Send a request and wait for the answer. Raises EOFError or ConnectionError where the child ends first."""
        await asyncio.get_running_loop().sock_sendall(self._connection, LENGTH.pack(len(request)) + request)
        return await self.read(*LENGTH.unpack(await self.read(LENGTH.size)))

    async def read(self, size: int) -> bytes:
        """Read so many bytes. Raises EOFError where fewer come."""
        loop, got = asyncio.get_running_loop(), bytearray()
        while len(got) < size:
            more = await loop.sock_recv(self._connection, min(size - len(got), 1 << 18))
            if not more:
                raise EOFError
            got += more
        return bytes(got)

    def kill(self) -> None:
        self._connection.close()
        self.process.kill()


class Children:
    """Starts children, keeps those that are free, and ends them."""

    def __init__(self, cpu_seconds: float, memory: int) -> None:
        self._cpu_seconds, self._memory = cpu_seconds, memory
        self._free: list[Child] = []
        self._spare: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Future[int]] = set()
        self._functions: set[Callable[..., Any]] = set()

    def expect(self, function: Callable[..., Any]) -> None:
        """Let children that start from now on import what this function is in."""
        self._functions.add(function)

    async def take(self) -> Child:
        """Give a free child, or a new one. Raises SandboxUnavailable."""
        child = self._free.pop() if self._free else await self.start()
        self._keep_spare()
        return child

    def put_back(self, child: Child) -> None:
        self._free.append(child)

    async def refill(self) -> None:
        """Start a child for one that was killed, and wait for it. Where that fails, whoever needs one tries again."""
        with suppress(SandboxUnavailable):
            self.put_back(await self.start())

    async def start(self) -> Child:
        """Start a child, ready for the functions that are known by now. Raises SandboxUnavailable."""
        try:
            child = Child(self._cpu_seconds, self._memory)
        except OSError as error:
            raise SandboxUnavailable(f"a child of the sandbox did not start: {error}") from error
        try:
            async with asyncio.timeout(_START_SECONDS):
                await child.read(len(READY))
                if self._functions:  # to read their names is to import what they are in
                    await child.ask(pickle.dumps((len, (tuple(self._functions),), {})))
        except (EOFError, OSError) as error:
            code = await asyncio.shield(self.end(child))
            raise SandboxUnavailable(f"a child of the sandbox did not start, and ended with {code}") from error
        except BaseException:  # cancelled
            self.end(child)
            raise
        return child

    def end(self, child: Child) -> asyncio.Future[int]:
        """Kill a child, if it lives; its code comes in a moment."""
        child.kill()
        ending = asyncio.get_running_loop().run_in_executor(None, child.process.wait)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending

    async def close(self) -> None:
        """End all children that are free, and wait until every one has ended."""
        if self._spare:
            self._spare.cancel()
            await asyncio.gather(self._spare, return_exceptions=True)
        while self._free:
            self.end(self._free.pop())
        await asyncio.gather(*self._ending)

    def _keep_spare(self) -> None:
        """Start another child where none is free."""
        if not self._free and (self._spare is None or self._spare.done()):
            self._spare = asyncio.create_task(self.refill())


def _process(standard_input: socket.socket, cpu_seconds: float, memory: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-c", _PROGRAM, json.dumps(sys.path), str(cpu_seconds), str(memory)],
        stdin=standard_input.fileno(),
        stdout=subprocess.DEVNULL,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        process_group=0,  # so that Ctrl-C in a terminal does not reach it before it can ignore that
    )
