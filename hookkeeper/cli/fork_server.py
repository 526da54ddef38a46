"""A process that imports what the worker and the API need, and forks them.

Both need nearly the same modules. Imported once, they cost half the CPU and half the memory. Only on Linux: elsewhere,
libraries of the system do not survive a fork.

Once it has forked each of them, the server ends: it would keep memory of its own. Processes that are started again are
executed. `dev` asks over a socket, one request at a time, with a descriptor for the output:

    {"arguments": ["worker"], "environment": {…}}  ->  {"pid": 7} or {"error": "…"}

The new process is a child of `dev`, which adopts it from a process that the server has forked in between.
"""

import asyncio
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from hookkeeper.cli.child_process import ChildProcess, adopt_orphans, dying_with, execute
from hookkeeper.cli.datadir import PRIVATE
from hookkeeper.cli.processes import start_without_collections

COMMANDS = frozenset({"worker", "api"})
MAX_MESSAGE = 128 * 1024
Message = Mapping[str, Any]


@contextmanager
def forking() -> Iterator["ForkServer | None"]:
    """Run a server until it has forked each command, or the block ends; None where processes are not forked.

    Start it before the process has other threads and an event loop: a fork copies neither.
    """
    if sys.platform != "linux":
        yield None
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    die_with_dev = dying_with(os.getpid())
    adopt_orphans(True)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        ours.close()
        assert die_with_dev
        die_with_dev()
        _serve(theirs)
    theirs.close()
    ours.setblocking(False)
    server = ForkServer(pid, ours)
    try:
        yield server
    finally:
        server.end()


class ForkServer:
    """The client of the server. If the server has ended, processes are executed."""

    def __init__(self, pid: int, requests: socket.socket) -> None:
        self._pid: int | None = pid
        self._requests = requests
        self._to_fork = set(COMMANDS)
        self._asking = asyncio.Lock()

    async def start(self, argv: Sequence[str], environment: Mapping[str, str], output: int) -> ChildProcess:
        """Fork a process that does the same as `argv`, which is `python -m hookkeeper …`. Raises `OSError`."""
        forking = asyncio.create_task(self._fork(argv[3:], environment, output))
        try:
            return await asyncio.shield(forking)
        except asyncio.CancelledError:
            with suppress(EOFError, OSError):
                os.kill((await forking).pid, signal.SIGKILL)
            raise
        except EOFError:
            return await execute(argv, environment, output)

    def end(self) -> None:
        """End the server, if it has not ended."""
        if self._pid is not None:
            self._requests.close()
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = None
            adopt_orphans(False)

    async def _fork(self, arguments: Sequence[str], environment: Mapping[str, str], output: int) -> "ForkedProcess":
        """Raises `EOFError` if the server has ended."""
        async with self._asking:
            answer = await self._ask({"arguments": list(arguments), "environment": dict(environment)}, output)
            if "error" in answer:
                raise OSError(answer["error"])
            self._to_fork.discard(arguments[0])
            if not self._to_fork:
                self.end()
        return ForkedProcess(answer["pid"])

    async def _ask(self, request: Message, descriptor: int) -> Message:
        if self._pid is None:
            raise EOFError
        try:
            socket.send_fds(self._requests, [json.dumps(request).encode()], [descriptor])
            answer = await asyncio.get_running_loop().sock_recv(self._requests, MAX_MESSAGE)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise EOFError from error
        if not answer:
            raise EOFError
        message: Message = json.loads(answer)
        return message


class ForkedProcess:
    """A child that the server has forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = asyncio.create_task(self._wait(), name=f"wait for process {pid}")

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def _wait(self) -> int:
        await _readable(os.pidfd_open(self.pid))
        return self._exit_code()

    def _exit_code(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


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
        os.umask(PRIVATE)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _set_title("fork server")
        start_without_collections()
        for command in sorted(COMMANDS):
            importlib.import_module(f"hookkeeper.cli.run_{command}")
        gc.freeze()  # a collection would write to all objects, and so copy their memory
        while True:
            content, descriptors, *_ = socket.recv_fds(requests, MAX_MESSAGE, 1)
            if not content:
                os._exit(0)
            _fork_between(json.loads(content), requests, *descriptors)
    except BaseException:  # noqa: BLE001 - nothing may return to the code of `dev`
        traceback.print_exc()
    os._exit(1)


def _fork_between(request: Message, answers: socket.socket, output: int) -> None:
    """Fork a process that forks the command and ends, so that `dev` adopts the command."""
    dev = os.getppid()
    try:
        between = os.fork()
        if between == 0:
            _fork_command(request, answers, output, dev)
        os.waitpid(between, 0)
    except OSError as error:
        _send(answers, {"error": str(error)})
    os.close(output)


def _fork_command(request: Message, answers: socket.socket, output: int, dev: int) -> NoReturn:
    between, die_with_dev = os.getpid(), dying_with(dev)
    try:
        if os.fork() > 0:
            os._exit(0)
    except OSError as error:
        _send(answers, {"error": str(error)})
        os._exit(1)
    while os.getppid() == between:
        time.sleep(0.001)
    assert die_with_dev
    die_with_dev()
    _send(answers, {"pid": os.getpid()})
    answers.close()
    _run(request["arguments"], request["environment"], output)


def _send(answers: socket.socket, message: Message) -> None:
    answers.send(json.dumps(message).encode())


def _run(arguments: list[str], environment: Mapping[str, str], output: int) -> NoReturn:
    """Run a command in a new process, and exit."""
    code: Any = 1
    try:
        os.setsid()
        for standard in (1, 2):
            os.dup2(output, standard)
        os.close(output)
        os.environ.update(environment)
        sys.argv = ["hookkeeper", *arguments]
        _set_title(" ".join(arguments))
        importlib.import_module("hookkeeper.cli.main").main()
    except SystemExit as exit_:
        code = exit_.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _set_title(title: str) -> None:
    from setproctitle import setproctitle

    setproctitle(f"hookkeeper {title}")
