"""A process that imports what the worker and the API need, and forks them.

Both need nearly the same modules. Imported once, they cost half the CPU and half the memory. Only on Linux: elsewhere,
libraries of the system do not survive a fork.

`dev` and the server talk over a socket, one request and one answer at a time:

    {"command": "worker", "environment": {…}} and a descriptor for the output  ->  {"pid": 7} or {"error": "…"}
    {"ended": 7}, a process that has ended                                     ->  {"code": -9}
"""

import asyncio
import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from hookkeeper.cli.child_process import ChildProcess, dying_with_parent, execute
from hookkeeper.cli.processes import start_without_collections

COMMANDS = ("worker", "api")
MAX_MESSAGE = 128 * 1024
Message = Mapping[str, Any]


@contextmanager
def forking() -> Iterator["ForkServer | None"]:
    """Run a server until the block ends; None where processes are not forked.

    Start it before the process has other threads and an event loop: a fork copies neither.
    """
    if sys.platform != "linux":
        yield None
        return
    importlib.import_module("temporalio.client")  # which `dev` needs as well
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    die_with_parent = dying_with_parent()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        assert die_with_parent
        die_with_parent()
        _serve(theirs)
    theirs.close()
    ours.setblocking(False)
    try:
        yield ForkServer(ours)
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


class ForkServer:
    """The client of the server. If the server has ended, processes are executed."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._asking = asyncio.Lock()

    async def start(self, argv: Sequence[str], environment: Mapping[str, str], output: int) -> ChildProcess:
        """Fork a process that does the same as `argv`, which is `python -m hookkeeper COMMAND`. Raises `OSError`."""
        request = {"command": argv[-1], "environment": dict(environment)}
        forking = asyncio.create_task(self.ask(request, output))
        try:
            answer = await asyncio.shield(forking)
        except asyncio.CancelledError:
            with suppress(EOFError, KeyError, ProcessLookupError):
                os.kill((await forking)["pid"], signal.SIGKILL)
            raise
        except EOFError:
            return await execute(argv, environment, output)
        if "error" in answer:
            raise OSError(answer["error"])
        return ForkedProcess(answer["pid"], self)

    async def ask(self, request: Message, *descriptors: int) -> Message:
        """Send a request and return its answer. Raises `EOFError` if the server has ended."""
        async with self._asking:
            try:
                socket.send_fds(self._server, [json.dumps(request).encode()], descriptors)
                answer = await asyncio.get_running_loop().sock_recv(self._server, MAX_MESSAGE)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise EOFError("the fork server has ended") from error
        if not answer:
            raise EOFError("the fork server has ended")
        message: Message = json.loads(answer)
        return message


class ForkedProcess:
    """A process that the server has forked."""

    def __init__(self, pid: int, server: ForkServer) -> None:
        self.pid = pid
        self._ended = asyncio.create_task(self._wait(server), name=f"wait for process {pid}")

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def _wait(self, server: ForkServer) -> int:
        await _readable(os.pidfd_open(self.pid))
        try:
            return int((await server.ask({"ended": self.pid}))["code"])
        except EOFError:  # its processes were killed with it
            return -signal.SIGKILL


async def _readable(descriptor: int) -> None:
    """Wait until a descriptor is readable, and close it."""
    loop, is_readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, is_readable.set)
    try:
        await is_readable.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


# In the server's own process


def _serve(requests: socket.socket) -> NoReturn:
    """Import everything, and answer requests until the socket is closed."""
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _set_title("fork server")
        start_without_collections()
        for command in COMMANDS:
            importlib.import_module(f"hookkeeper.cli.run_{command}")
        gc.freeze()  # a collection would write to all objects, and so copy their memory
        while True:
            content, descriptors, *_ = socket.recv_fds(requests, MAX_MESSAGE, 1)
            if not content:
                os._exit(0)
            requests.send(json.dumps(_answer(json.loads(content), requests, *descriptors)).encode())
    except BaseException:  # noqa: BLE001 - nothing may return to the code of `dev`
        traceback.print_exc()
    os._exit(1)


def _answer(request: Message, requests: socket.socket, *descriptors: int) -> Message:
    if "ended" in request:
        _, status = os.waitpid(request["ended"], 0)
        return {"code": os.waitstatus_to_exitcode(status)}
    (output,) = descriptors
    die_with_parent = dying_with_parent()
    try:
        pid = os.fork()
    except OSError as error:
        return {"error": str(error)}
    if pid == 0:
        requests.close()
        assert die_with_parent
        die_with_parent()
        _run(request["command"], request["environment"], output)
    os.close(output)
    return {"pid": pid}


def _run(command: str, environment: Mapping[str, str], output: int) -> NoReturn:
    """Run a command in a new process, and exit."""
    code: Any = 1
    try:
        os.setsid()
        for standard in (1, 2):
            os.dup2(output, standard)
        os.close(output)
        os.environ.update(environment)
        sys.argv = ["hookkeeper", command]
        _set_title(command)
        importlib.import_module("hookkeeper.cli.main").main()
    except SystemExit as exit_:
        code = exit_.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _set_title(command: str) -> None:
    from setproctitle import setproctitle

    setproctitle(f"hookkeeper {command}")
