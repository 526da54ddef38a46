"""The child processes of `hookkeeper.sandbox.pool`, and a spare one, so that no call waits for a process to start.

A child is an isolated Python that imports only the modules of the functions it runs. It inherits no open files and no
secrets, and it ends when its parent ends, even if the parent is killed.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
from contextlib import suppress

from hookkeeper.sandbox.child import IMPORT, READY
from hookkeeper.sandbox.messages import LENGTH, MAX_ANSWER, BadAnswer, dumps, request

_START_SECONDS = 30.0
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from hookkeeper.sandbox.child import main; main()"
_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class SandboxUnavailable(RuntimeError):
    """No child can be started. Caused by the machine, not by a tenant or a bug."""


class SandboxChild:
    """A child process, and the parent's end of its socket."""

    def __init__(self, functions: str, cpu_seconds: float, memory: int) -> None:
        self._connection, theirs = socket.socketpair()
        self._connection.setblocking(False)
        self._received = bytearray()
        try:
            with theirs:
                self.process = _process(theirs, functions, cpu_seconds, memory)
        except OSError:
            self._connection.close()
            raise

    async def ask(self, request: bytes) -> None:
        """Send a request. Raises ConnectionError if the child has ended."""
        await asyncio.get_running_loop().sock_sendall(self._connection, request)

    async def answer(self) -> bytes:
        """Wait for a message; the last one is empty. Raises EOFError or ConnectionError if the child ends first.

        Raises BadAnswer if the message is too long.
        """
        (size,) = LENGTH.unpack(await self.read(LENGTH.size))
        if size > MAX_ANSWER:
            raise BadAnswer("a child of the sandbox gave too long an answer")
        return await self.read(size)

    async def read(self, size: int) -> bytes:
        """Read `size` bytes. Raises EOFError if the child ends first."""
        loop, received = asyncio.get_running_loop(), self._received
        while len(received) < size:
            more = await loop.sock_recv(self._connection, 1 << 18)
            if not more:
                raise EOFError
            received += more
        content = bytes(received[:size])
        del received[:size]
        return content

    def kill(self) -> None:
        self._connection.close()
        self.process.kill()


class Children:
    """Starts, keeps and ends children."""

    def __init__(self, functions: str, cpu_seconds: float, memory: int) -> None:
        self._bounds = functions, cpu_seconds, memory
        self._free: list[SandboxChild] = []
        self._spare: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Future[int]] = set()
        self._expected: set[str] = set()

    def expect(self, function: str) -> None:
        """Import this function in all children that start from now on."""
        self._expected.add(function)

    async def take(self) -> SandboxChild:
        """Return a free child, or a new one. Raises SandboxUnavailable."""
        child = self._free.pop() if self._free else await self.start()
        self._keep_spare()
        return child

    def put_back(self, child: SandboxChild) -> None:
        self._free.append(child)

    async def refill(self) -> None:
        """Replace a killed child. If that fails, the next call that needs one tries again."""
        with suppress(SandboxUnavailable):
            self.put_back(await self.start())

    async def start(self) -> SandboxChild:
        """Start a child, with the expected functions imported. Raises SandboxUnavailable."""
        try:
            child = SandboxChild(*self._bounds)
        except OSError as error:
            raise SandboxUnavailable(f"a child of the sandbox did not start: {error}") from error
        try:
            async with asyncio.timeout(_START_SECONDS):
                await child.read(len(READY))
                if self._expected:
                    await child.ask(request(IMPORT, (), dumps(sorted(self._expected)), "{}"))
                    await child.answer()
        except (EOFError, OSError, BadAnswer) as error:
            code = await asyncio.shield(self.end(child))
            raise SandboxUnavailable(f"a child of the sandbox did not start, and ended with {code}") from error
        except BaseException:  # cancelled
            self.end(child)
            raise
        return child

    def end(self, child: SandboxChild) -> asyncio.Future[int]:
        """Kill a child; the future has its exit code."""
        child.kill()
        ending = asyncio.get_running_loop().run_in_executor(None, child.process.wait)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending

    async def close(self) -> None:
        """End all free children, and wait until all children have ended."""
        if self._spare:
            self._spare.cancel()
            await asyncio.gather(self._spare, return_exceptions=True)
        while self._free:
            self.end(self._free.pop())
        await asyncio.gather(*self._ending)

    def _keep_spare(self) -> None:
        """Start another child if none is free."""
        if not self._free and (self._spare is None or self._spare.done()):
            self._spare = asyncio.create_task(self.refill())


def _process(standard_input: socket.socket, functions: str, cpu_seconds: float, memory: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-c", _PROGRAM, json.dumps(sys.path), functions, str(cpu_seconds), str(memory)],
        stdin=standard_input.fileno(),
        stdout=subprocess.DEVNULL,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        process_group=0,  # so that Ctrl-C in a terminal does not reach it before it can ignore that
    )
