"""Runs functions of `elements` on what tenants wrote, in child processes of bounded time and memory.

A child is a bare Python that imports only what it is asked to run. It inherits no open file and no secret of ours, and
it ends when we do, however that comes. It bounds what a call costs; it would not hold code that broke out of a library.
"""

import asyncio
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import ParamSpec, Self, TypeVar

from elements.faults import TooCostly
from elements.sandboxed import LENGTH, READY

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

_START_SECONDS = 30.0
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from elements.sandboxed import main; main()"
_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Sandbox:
    """Makes up to `children` calls at once; more wait. A child starts when one is needed first, and is kept.

    A call may take `cpu_seconds` of computing and `wall_seconds` in all, a child `memory` bytes of address space.
    macOS does not bound memory; there the time alone does.
    """

    def __init__(
        self,
        *,
        children: int = 2,
        cpu_seconds: float = 0.1,
        wall_seconds: float = 5.0,
        memory: int = 256 * 1024 * 1024,
    ) -> None:
        self._children, self._cpu_seconds = children, cpu_seconds
        self._wall_seconds, self._memory = wall_seconds, memory
        self._slots = asyncio.Semaphore(children)
        self._idle: list[_Child] = []
        self._ending: set[asyncio.Future[int]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the calls already made, then end the children. A later call raises RuntimeError."""
        if self._closed:
            return
        self._closed = True
        async with AsyncExitStack() as every_slot:
            for _ in range(self._children):
                await every_slot.enter_async_context(self._slots)
            while self._idle:
                self._end(self._idle.pop())
        await asyncio.gather(*self._ending)

    async def call(self, function: Callable[_Given, _Result], *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        """Call a function in a child. Raises its Fault; TooCostly out of bounds; RuntimeError for a bug of ours."""
        if self._closed:
            raise RuntimeError("the sandbox is closed")
        try:
            request = pickle.dumps((function, args, kwargs))
        except RecursionError:
            raise TooCostly("is nested too deeply") from None
        async with self._slots:
            answer = await self._answer(request)
        result: _Result
        result, raised = pickle.loads(answer)  # noqa: S301
        if raised is not None:
            raise raised
        return result

    async def _answer(self, request: bytes) -> bytes:
        """Ask a child that is free. Where it was killed, ask a new one: those that are free may be dead as well."""
        try:
            return await self._ask(self._idle.pop() if self._idle else await self._start(), request)
        except _Killed:
            return await self._ask(await self._start(), request)

    async def _ask(self, child: "_Child", request: bytes) -> bytes:
        """Ask a child. One that does not answer is ended: nobody else may get its answer."""
        try:
            async with asyncio.timeout(self._wall_seconds):
                answer = await child.ask(request)
        except (EOFError, ConnectionError):
            raise self._fault(await asyncio.shield(self._end(child))) from None
        except TimeoutError:
            self._end(child)
            raise TooCostly(f"takes more than {self._wall_seconds:g} s") from None
        except BaseException:  # cancelled
            self._end(child)
            raise
        self._idle.append(child)
        return answer

    async def _start(self) -> "_Child":
        child = _Child(self._cpu_seconds, self._memory)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await child.read(len(READY))
        except (EOFError, OSError) as error:
            code = await asyncio.shield(self._end(child))
            raise RuntimeError(f"a child of the sandbox did not start, and ended with {code}") from error
        except BaseException:  # cancelled
            self._end(child)
            raise
        return child

    def _end(self, child: "_Child") -> asyncio.Future[int]:
        """Kill a child, if it lives; its code comes in a moment."""
        child.kill()
        ending = asyncio.get_running_loop().run_in_executor(None, child.process.wait)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending

    def _fault(self, code: int) -> TooCostly:
        """Say why a child ended in the middle of a call."""
        if code == -signal.SIGPROF:
            return TooCostly(f"takes more than {self._cpu_seconds * 1000:g} ms of computing")
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            return _Killed("takes too much memory")
        return TooCostly("takes too much memory, or is nested too deeply")


class _Killed(TooCostly):
    """The call's child was killed by a person, or by a machine without memory, which need not be this call's doing."""


class _Child:
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


def _process(standard_input: socket.socket, cpu_seconds: float, memory: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-c", _PROGRAM, json.dumps(sys.path), str(cpu_seconds), str(memory)],
        stdin=standard_input.fileno(),
        stdout=subprocess.DEVNULL,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        process_group=0,  # so that Ctrl-C in a terminal does not reach it before it can ignore that
    )
