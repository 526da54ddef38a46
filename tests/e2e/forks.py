"""Processes of Hookkeeper as forks of one that has imported its modules: imports take most of the time of a short one.

A fork imports this module, so it imports little. What a fork does not show is how Python starts and ends the process:
tests of that start one with `python -m hookkeeper`.
"""

import asyncio
import gc
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from timeouts import pauses

TIMEOUTS = "TESTED_TIMEOUTS"
"""A variable with timeouts that have no setting: seconds by the name of a constant."""
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        *("cli.main", "hookkeeper.services.webhooks.fields", "httpcore"),
        *("cli.operators.run_worker", "cli.operators.run_api", "cli.operators.telemetry", "cli.local.stack"),
        *("cli.local.demo", "cli.operators.maintenance", "extensions.cells.run_router"),
    ]
)


class Fork:
    """A command in a fork. It has what tests use of `asyncio.subprocess.Process`."""

    def __init__(self, args: Sequence[str], cwd: Path, environment: Mapping[str, str], streams: Sequence[Path]) -> None:
        self._process = _forks.Process(target=_command, args=(args, cwd, environment, streams))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.exitcode

    async def wait(self) -> int:
        async for _ in pauses():
            if (code := self.returncode) is not None:
                return code
        raise AssertionError("pauses have no end")

    def join(self, seconds: float) -> int:
        """Wait in this thread, and kill it after these seconds. Return the exit code."""
        self._process.join(seconds)
        self._process.kill()
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if self.returncode is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def started(args: Sequence[str], cwd: Path, environment: Mapping[str, str], out: Path, err: Path) -> Fork:
    """Start a command that reads nothing and writes to these files."""
    for file in (out, err):
        file.touch()
    return await asyncio.to_thread(Fork, args, cwd, environment, (Path(os.devnull), out, err))


def run(
    args: Sequence[str], cwd: Path, environment: Mapping[str, str], stdin: str, seconds: float
) -> tuple[int, str, str]:
    """Run a command, which is killed after these seconds. Return its exit code, output and errors."""
    with tempfile.TemporaryDirectory() as folder:
        _, out, err = streams = [Path(folder, name) for name in ("in", "out", "err")]
        for file, content in zip(streams, (stdin, "", ""), strict=True):
            file.write_bytes(content.encode())
        code = Fork(args, cwd, environment, streams).join(seconds)
        return code, out.read_bytes().decode(), err.read_bytes().decode()


def _command(args: Sequence[str], cwd: Path, environment: Mapping[str, str], streams: Sequence[Path]) -> None:
    for number, file in enumerate(streams):
        os.dup2(os.open(file, os.O_RDWR), number)
    sys.stdin = open(0)  # noqa: SIM115  # `multiprocessing` has closed it
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv[1:] = args
    gc.freeze()  # a collection would copy all that was imported before
    import drills.event_loops.sitecustomize  # noqa: F401  # as Python does at its start
    from cli import main

    for name, seconds in json.loads(environment.get(TIMEOUTS, "{}")).items():
        module, _, constant = name.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), constant), timedelta)
        setattr(importlib.import_module(module), constant, timedelta(seconds=seconds))

    main.main()
