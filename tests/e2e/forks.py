"""Commands in forks of a process that has imported the command line: imports take three quarters of a command's time.

A fork imports this module, so it imports little.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["hookkeeper.cli.main", "hookkeeper.services.webhook_fields", "httpcore"])


def run(
    args: Sequence[str], cwd: Path, environment: Mapping[str, str], stdin: str, seconds: float
) -> tuple[int, str, str]:
    """Run a command, which is killed after these seconds. Return its exit code, output and errors."""
    with tempfile.TemporaryDirectory() as folder:
        _, out, err = streams = [Path(folder, name) for name in ("in", "out", "err")]
        for file, content in zip(streams, (stdin, "", ""), strict=True):
            file.write_bytes(content.encode())
        process = _forks.Process(target=_command, args=(args, cwd, environment, streams))
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        assert process.exitcode is not None
        return process.exitcode, out.read_bytes().decode(), err.read_bytes().decode()


def _command(args: Sequence[str], cwd: Path, environment: Mapping[str, str], streams: Sequence[Path]) -> None:
    from hookkeeper.cli import main

    for number, file in enumerate(streams):
        os.dup2(os.open(file, os.O_RDWR), number)
    sys.stdin = open(0)  # noqa: SIM115  # `multiprocessing` has closed it
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv[1:] = args
    main.main()
