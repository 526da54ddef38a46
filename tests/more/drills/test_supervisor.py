"""The supervisor, with real processes: each child is a few lines of Python that say what they are through files."""

import asyncio
import errno
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cli.local.child_process import LOG_LIMIT, KeptProcess, ProcessFailed
from drills.supervisor import Service, Supervisor
from timeouts import WAIT_TIMEOUT

ROOT = Path(__file__).parents[3]
REPORT = "import os, pathlib, sys, time; me = pathlib.Path({me!r}); me.write_text(str(os.getpid()))"
"""How a child says that it is ready, and who it is."""
SLEEP = "time.sleep(600)"

Event = tuple[str, ...]


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(tmp_path / "logs") as supervisor:
        yield supervisor


def file_exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return await asyncio.to_thread(lambda: path.exists() and path.stat().st_size > 0)

    return ready


def service(tmp_path: Path, *lines: str, name: str = "worker", start: float = 20, stop: float = 10) -> Service:
    """Make a service of these lines of Python; it is ready when the file with its name is there."""
    me = tmp_path / name
    script = "\n".join(textwrap.dedent(line).strip("\n") for line in lines).replace("{me!r}", repr(str(me)))
    return Service(name, [sys.executable, "-S", "-c", script], file_exists(me), start_timeout=start, stop_timeout=stop)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_TIMEOUT):
        while True:
            if await asyncio.to_thread(condition):
                return
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with suppress(OSError):  # no /proc, or it ended meanwhile
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return True


def grandchild(path: Path) -> str:
    """Spell the lines that start another process, which leaves its id in `path`."""
    return f"""
        import subprocess
        other = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        pathlib.Path({str(path)!r}).write_text(str(other.pid))
    """


async def test_start_returns_when_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    plain = service(
        tmp_path, "import os, time; print(os.environ['GREETING'], flush=True); time.sleep(0.3)", REPORT, SLEEP
    )
    await supervisor.start(Service(plain.name, plain.argv, plain.ready, env={"GREETING": "good morning"}))
    assert (tmp_path / "worker").read_text() == str(supervisor.pid("worker"))
    assert (tmp_path / "logs" / "worker.log").read_text() == "good morning\n"


async def test_child_is_out_of_reach_of_ctrl_c(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.start(service(tmp_path, REPORT, SLEEP))
    pid = supervisor.pid("worker")
    assert pid is not None
    assert os.getsid(pid) == os.getpgid(pid) == pid


async def test_child_is_restarted_after_kill_9(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.start(service(tmp_path, REPORT, SLEEP))
    first = supervisor.pid("worker")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervisor.pid("worker") not in (None, first))
    second = supervisor.pid("worker")
    assert second is not None
    assert is_alive(second)
    await until(lambda: (tmp_path / "worker").read_text() == str(second))


async def test_child_is_restarted_where_events_cannot_be_written(tmp_path: Path) -> None:
    """As on a full disk: the second death is noticed, too."""
    events: list[Event] = []

    def refuse(*event: str) -> None:
        events.append(event)
        raise OSError(errno.ENOSPC, "No space left on device")

    plain = service(tmp_path, REPORT, SLEEP)
    process = KeptProcess("worker", plain.argv, {}, tmp_path / "logs" / "worker.log", 10.0, refuse)
    try:
        await process.start()
        await process.until_ready(plain.ready, WAIT_TIMEOUT)
        for _ in range(2):
            pid = process.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: process.pid not in (None, pid))  # noqa: B023 - ends before the next pid
        await until(lambda: len(events) == 2)
    finally:
        await process.stop()
    assert events == [("worker", "died (signal 9), restarted")] * 2


async def test_restart_leaves_no_orphans(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.start(
        service(tmp_path, "import pathlib, sys, time", grandchild(tmp_path / "other"), REPORT, SLEEP)
    )
    orphan, leader = int((tmp_path / "other").read_text()), supervisor.pid("worker")
    assert leader is not None
    os.kill(leader, signal.SIGKILL)
    await until(lambda: not is_alive(orphan))


async def test_stop_ends_grandchildren(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.start(
        service(tmp_path, "import pathlib, sys, time", grandchild(tmp_path / "other"), REPORT, SLEEP)
    )
    pids = [int((tmp_path / name).read_text()) for name in ("worker", "other")]
    assert all(is_alive(pid) for pid in pids)
    await supervisor.stop()
    await supervisor.stop()
    await until(lambda: not any(is_alive(pid) for pid in pids))
    assert supervisor.pid("worker") is None


async def test_stop_goes_in_reverse_order_and_waits(supervisor: Supervisor, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    for name in ("server", "worker", "api"):
        polite = f"""
            import signal
            def end(*_):
                time.sleep(0.1)
                with open({str(ended)!r}, "a") as file:
                    print({name!r}, file=file)
                sys.exit()
            signal.signal(signal.SIGTERM, end)
        """
        await supervisor.start(service(tmp_path, "import sys, time", polite, REPORT, SLEEP, name=name))
    await supervisor.stop()
    assert ended.read_text().split() == ["api", "worker", "server"]


async def test_stop_kills_what_ignores_it(supervisor: Supervisor, tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    await supervisor.start(service(tmp_path, deaf, REPORT, SLEEP, stop=0.3))
    pid = supervisor.pid("worker")
    assert pid is not None
    async with asyncio.timeout(WAIT_TIMEOUT):
        await supervisor.stop()
    assert not is_alive(pid)


async def test_stop_while_starting(supervisor: Supervisor, tmp_path: Path) -> None:
    never = service(tmp_path, "import os, pathlib, time", f"pathlib.Path({str(tmp_path / 'pid')!r}).touch()", SLEEP)
    starting = asyncio.create_task(supervisor.start(never))
    await until((tmp_path / "pid").exists)
    pid = supervisor.pid("worker")
    assert pid is not None
    await supervisor.stop()
    with pytest.raises(ProcessFailed, match="ended with signal 15 before it was ready"):
        await starting
    assert not is_alive(pid)


async def test_child_that_is_never_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    lines = 'import time; print(*(f"line {n}" for n in range(40)), sep="\\n", flush=True)'
    with pytest.raises(ProcessFailed, match=r"worker was not ready after 1 s\. (?s:.*)line 39") as raised:
        await supervisor.start(service(tmp_path, lines, SLEEP, start=1))
    assert [line.strip() for line in str(raised.value).splitlines()[1:]] == [f"line {n}" for n in range(25, 40)]


async def test_child_that_dies_before_it_is_ready_is_started_three_times(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "worker.log").write_text("from an earlier day\n")
    dying = service(
        tmp_path, f"open({str(tmp_path / 'starts')!r}, 'a').write('x')", "raise SystemExit('no such setting')"
    )
    with pytest.raises(ProcessFailed, match="ended with exit code 1 before it was ready") as raised:
        await supervisor.start(dying)
    assert (tmp_path / "starts").read_text() == "xxx"
    assert "no such setting" in str(raised.value) and "earlier" not in str(raised.value)
    assert supervisor.pid("worker") is None


async def test_missing_program(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match=r"could not be started: .*No such file"):
        await supervisor.start(Service("worker", [str(tmp_path / "nothing")], file_exists(tmp_path)))


async def test_large_log_is_put_aside(supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "worker.log"
    log.parent.mkdir()
    with log.open("wb") as file:
        file.truncate(LOG_LIMIT + 1)
    await supervisor.start(service(tmp_path, REPORT, SLEEP))
    assert log.stat().st_size == 0
    assert log.with_name("worker.log.1").stat().st_size == LOG_LIMIT + 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child to its parent's life")
async def test_children_die_with_the_supervisor(tmp_path: Path) -> None:
    """Setup: a supervisor in a process of its own. Timeline: it is killed with -9. Proves: its child goes as well."""
    child = service(tmp_path, REPORT, SLEEP)
    script = textwrap.dedent(f"""
        import asyncio, pathlib
        from drills.supervisor import Service, Supervisor

        async def ready() -> bool:
            return pathlib.Path({str(tmp_path / "worker")!r}).exists()

        async def main() -> None:
            await Supervisor(pathlib.Path({str(tmp_path)!r})).start(Service("worker", {list(child.argv)!r}, ready))
            pathlib.Path({str(tmp_path / "up")!r}).touch()
            await asyncio.sleep(600)

        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=ROOT)
    try:
        await until((tmp_path / "up").exists)
    finally:
        process.kill()
        await process.wait()
    pid = int((tmp_path / "worker").read_text())
    await until(lambda: not is_alive(pid))


# Commands that end


async def test_a_command_is_run_to_its_end(supervisor: Supervisor, tmp_path: Path) -> None:
    program = "import os, pathlib, time; time.sleep(0.2); pathlib.Path(os.environ['FILE']).write_text('done')"
    await supervisor.run("once", [sys.executable, "-S", "-c", program], {"FILE": str(tmp_path / "file")})
    assert (tmp_path / "file").read_text() == "done"
    assert supervisor.pid("once") is None


async def test_a_command_that_fails_is_reported_with_its_output(supervisor: Supervisor) -> None:
    with pytest.raises(ProcessFailed, match=r"once ended with exit code 3\. (?s:.*)no such table"):
        await supervisor.run("once", [sys.executable, "-S", "-c", "print('no such table'); raise SystemExit(3)"], {})
