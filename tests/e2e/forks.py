"""Commands in forks of a process that has imported the command line: imports take three quarters of a command's time.

Each fork is a process of its own: it has its own working directory, output and exit code.
"""

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

Run = Callable[[Sequence[str], Path, str], Awaitable[tuple[int, str, str]]]
"""Run a command with arguments, folder and standard input; return its exit code, output and errors."""


@asynccontextmanager
async def forking(environment: Mapping[str, str]) -> AsyncIterator[Run]:
    """Start the process with the first command, and end it with the block."""
    process: asyncio.subprocess.Process | None = None
    port = b""
    starting = asyncio.Lock()

    async def run(args: Sequence[str], cwd: Path, stdin: str) -> tuple[int, str, str]:
        nonlocal process, port
        async with starting:
            if process is None:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, __file__), env=environment, stdout=subprocess.PIPE, start_new_session=True
                )
                assert process.stdout
                port = await process.stdout.readline()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        try:
            writer.write(json.dumps([args, str(cwd), stdin]).encode() + b"\n")
            code, out, err = json.loads(await reader.read())
            return code, out, err
        finally:
            writer.close()

    try:
        yield run
    finally:
        if process:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def serve() -> None:
    """Run the command of each connection, until this process is killed or its parent has ended."""
    import httpcore  # noqa: F401 - a command imports it with its first request
    import pydantic
    import typer.main

    from hookkeeper.cli import main

    pydantic.TypeAdapter(bool)  # as a command does for its first option
    main.app = typer.main.get_command(main.app)  # type: ignore[assignment]
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no child becomes a zombie
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        server.settimeout(1)
        parent = os.getppid()
        while os.getppid() == parent:
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                _answer(connection)
                os._exit(0)
            connection.close()


def _answer(connection: socket.socket) -> None:
    from hookkeeper.cli import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection.makefile("rwb") as stream, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        args, folder, text = json.loads(stream.readline())
        with tempfile.TemporaryFile() as given:
            given.write(text.encode())
            given.seek(0)
            if (child := os.fork()) == 0:
                for number, file in enumerate((given, out, err)):
                    os.dup2(file.fileno(), number)
                os.chdir(folder)
                sys.argv[1:] = args
                main.main()
                sys.exit()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for file in (out, err):
            file.seek(0)
        stream.write(json.dumps([code, out.read().decode(), err.read().decode()]).encode())


if __name__ == "__main__":
    serve()
