"""What holds an event loop is found, with its stack; what only waits for a processor is not blamed."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from drills.event_loops.monitor import LoopMonitor, SlowStep
from timeouts import WAIT_TIMEOUT

ROOT = Path(__file__).parents[3]


def burn(seconds: float) -> None:
    """Use so much of the processor."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


class Garbage:
    """A cycle of objects, whose collection takes long."""

    def __init__(self, seconds: float) -> None:
        self.cycle = self
        self.seconds = seconds

    def __del__(self) -> None:
        burn(self.seconds)


async def watch(*steps: Callable[[], None], limit: float = 0.1, blocked: float = 0.3) -> list[SlowStep]:
    """Run each as one step of a loop of its own, in a thread of its own; give what was reported."""
    held: list[SlowStep] = []

    async def one(step: Callable[[], None]) -> None:
        step()

    async def run_all() -> None:
        with LoopMonitor(limit, held.append, blocked):
            for step in steps:
                await asyncio.create_task(one(step))

    await asyncio.to_thread(asyncio.run, run_all())
    return held


async def test_a_busy_step_is_reported_with_its_stack() -> None:
    (held,) = await watch(lambda: burn(0.3))
    assert held.kind == "busy"
    assert held.seconds >= 0.3
    assert "in burn" in str(held)
    assert "run_until_complete" not in str(held), "only what the step did"


async def test_short_steps_are_not_added_up() -> None:
    assert await watch(*[lambda: burn(0.02)] * 15, limit=0.25) == []


async def test_a_step_that_sleeps_is_reported() -> None:
    (held,) = await watch(lambda: time.sleep(2))
    assert held.kind == "blocked"
    assert "time.sleep(2)" in str(held)


async def test_a_step_that_never_ends_is_reported_meanwhile() -> None:
    """The step ends only once it has been reported."""
    reported = threading.Event()

    async def main() -> None:
        with LoopMonitor(0.05, lambda _: reported.set(), 0.2):
            await asyncio.create_task(step())

    async def step() -> None:
        assert reported.wait(WAIT_TIMEOUT)

    await asyncio.to_thread(asyncio.run, main())


async def test_a_start_may_take_its_time() -> None:
    held: list[SlowStep] = []

    async def main() -> None:
        with LoopMonitor(0.05, held.append) as monitor:
            with monitor.paused():
                burn(0.2)
                await asyncio.sleep(0)
                burn(0.2)
            await asyncio.sleep(0)
            burn(0.2)

    await asyncio.to_thread(asyncio.run, main())
    assert len(held) == 1


async def test_a_step_that_gets_no_processor_is_not_blamed() -> None:
    """Setup: a process stops itself in the middle of a step. Timeline: it is continued two seconds later."""
    script = """
import asyncio, os, signal
from drills.event_loops.monitor import LoopMonitor
async def main():
    with LoopMonitor(0.1, lambda held: print(held, flush=True), 0.5):
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGSTOP)
        await asyncio.sleep(0)
    print("over")
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        async with asyncio.timeout(WAIT_TIMEOUT):
            await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            await asyncio.sleep(2)
            process.send_signal(signal.SIGCONT)
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert out.decode() == "over\n"


async def test_a_long_collection_is_no_step_of_ours_before_it_has_ended() -> None:
    """It takes more than ten times the limit, with which a busy step is reported while it runs."""

    def collect() -> None:
        Garbage(1.5)
        gc.collect()

    (held,) = await watch(collect)
    assert held.kind == "garbage collection"
    assert held.seconds >= 1.5


async def test_native_threads_that_begin_meanwhile_do_no_harm() -> None:
    """A dump of all threads crashed the interpreter within a second here."""
    script = """
import asyncio, ctypes, threading, time
from drills.event_loops.monitor import LoopMonitor
callback = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: None)
end = time.monotonic() + 1
def begin_threads():
    library = ctypes.CDLL(None)
    while time.monotonic() < end:
        thread = ctypes.c_ulong()
        if library.pthread_create(ctypes.byref(thread), None, callback, None) == 0:
            library.pthread_join(thread, None)
async def main():
    beginners = [threading.Thread(target=begin_threads) for _ in range(2)]
    for beginner in beginners:
        beginner.start()
    with LoopMonitor(0.0001, lambda _: None):
        await asyncio.sleep(0)
        time.sleep(1)
        await asyncio.sleep(0)
    for beginner in beginners:
        beginner.join()
    print("over")
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    try:
        async with asyncio.timeout(WAIT_TIMEOUT):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, out) == (0, b"over\n")
