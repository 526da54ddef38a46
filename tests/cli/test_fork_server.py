"""The fork server, in processes of its own: a test's process has threads, and must not be forked."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from timeouts import WAIT_TIMEOUT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked only on Linux")
ROOT = Path(__file__).parents[2]
API = '[sys.executable, "-m", "hookkeeper", "api"]'
"""Without an admin key it ends at once, and says why."""


def run(tmp_path: Path, work: str) -> list[str]:
    """Run the work with a fork server `forks` and a descriptor `output`; return what it prints, and the output."""
    log = tmp_path / "log"
    script = f"""
        import asyncio, os, pathlib, signal, sys
        from hookkeeper.cli.fork_server import forking

        def children(pid):
            return [int(child) for child in pathlib.Path(f"/proc/{{pid}}/task/{{pid}}/children").read_text().split()]

        async def work():
            server, = children(os.getpid())
            output = os.open({str(log)!r}, os.O_WRONLY | os.O_CREAT)
            {textwrap.indent(textwrap.dedent(work), " " * 12).strip()}

        with forking() as forks:
            asyncio.run(work())
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKKEEPER_")}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_TIMEOUT,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return [*ran.stdout.splitlines(), *log.read_text().splitlines()]


def test_a_forked_process_has_its_environment_and_output_and_ends_with_its_code(tmp_path: Path) -> None:
    assert run(
        tmp_path,
        f"""
        for environment in {{"HOOKKEEPER_PORT": "many"}}, {{}}:
            process = await forks.start({API}, environment, output)
            print(await process.wait(), process.returncode, os.path.exists(f"/proc/{{process.pid}}"))
        """,
    ) == [
        "78 78 False",
        "78 78 False",
        "Error: invalid settings:",
        "  HOOKKEEPER_PORT: Input should be a valid integer, unable to parse string as an integer",
        "Error: HOOKKEEPER_ADMIN_KEY is not set",
    ]


def test_a_killed_process_ends_with_the_signal_and_its_title_names_it(tmp_path: Path) -> None:
    work = f"""
        settings = {{"HOOKKEEPER_ADMIN_KEY": "k" * 32, "TEMPORAL_ADDRESS": "127.0.0.1:1"}}
        process = await forks.start({API}, settings, output)
        title = pathlib.Path(f"/proc/{{process.pid}}/cmdline")
        while "hookkeeper api" not in title.read_text():
            await asyncio.sleep(0.01)
        assert os.getsid(process.pid) == process.pid
        assert process.returncode is None
        os.kill(process.pid, signal.SIGKILL)
        print(await process.wait())
        """
    assert run(tmp_path, work) == [str(-signal.SIGKILL)]


def test_the_server_ends_once_it_has_forked_both(tmp_path: Path) -> None:
    """Worker and API are children of this process. A third process is executed."""
    work = f"""
        argv = [sys.executable, "-m", "hookkeeper", "migrate", "--registry-only"]
        migrate = await forks.start(argv, {{"HOOKKEEPER_DATABASE_URL": "sqlite+aiosqlite:///registry.db"}}, output)
        print(type(migrate).__name__, await migrate.wait())
        settings = {{"HOOKKEEPER_ADMIN_KEY": "k" * 32, "TEMPORAL_ADDRESS": "127.0.0.1:1"}}
        worker = await forks.start([sys.executable, "-m", "hookkeeper", "worker"], settings, output)
        assert set(children(os.getpid())) == {{server, worker.pid}}
        api = await forks.start({API}, settings, output)
        assert set(children(os.getpid())) == {{worker.pid, api.pid}}
        third = await forks.start({API}, {{}}, output)
        print(type(third).__name__, await third.wait())
        for process in worker, api:
            os.kill(process.pid, signal.SIGKILL)
            print(await process.wait())
        """
    killed = str(-signal.SIGKILL)
    assert run(tmp_path, work)[:4] == ["ForkedProcess 0", "Process 78", killed, killed]


def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    """Timeline: cancelled while the server imports, before it has forked."""
    work = f"""
        settings = {{"HOOKKEEPER_ADMIN_KEY": "k" * 32, "TEMPORAL_ADDRESS": "127.0.0.1:1"}}
        starting = asyncio.create_task(forks.start({API}, settings, output))
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])
        print(starting.cancelled())
        while children(os.getpid()) != [server]:
            await asyncio.sleep(0.01)
        """
    assert run(tmp_path, work) == ["True"]


def test_processes_are_executed_if_the_server_was_killed(tmp_path: Path) -> None:
    work = f"""
        await (await forks.start({API}, {{}}, output)).wait()
        os.kill(server, signal.SIGKILL)
        process = await forks.start({API}, {{}}, output)
        print(type(process).__name__, await process.wait())
        """
    assert run(tmp_path, work) == ["Process 78", *["Error: HOOKKEEPER_ADMIN_KEY is not set"] * 2]
