"""Reports each step (one callback) that blocks an event loop, with its stack.

A step is judged by the CPU time that the loop's thread spends in it: on a busy machine, wall time also counts what
other processes do. A step that uses no CPU but does not return (a sleep, a file, a name lookup) is reported too, once
the thread has slept at the same position for `BLOCKED`.

For tests and drills: every callback costs some microseconds more, and a thread looks at the loop 40 times a second.
"""

import asyncio
import faulthandler
import gc
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, Self

import structlog

log = structlog.get_logger("hookkeeper.event_loop")

BLOCKED = 1.0
"""Maximum seconds that a step may sleep at one position."""
ENDLESS = 10
"""A step that has used this many times its limit is reported before it ends, because it may never end."""
SAMPLE_INTERVAL = 0.025
"""Seconds between two looks at the step under way."""
MAX_SAMPLES = 20
STILL_CPU = 0.002
"""CPU seconds that a sleeping thread may use between two looks: it writes its stack at each."""

RUN_HANDLE = asyncio.Handle._run.__code__
"""What a loop calls for each step."""
DUMP_SIGNAL = signal.SIGURG
"""The loop's thread writes its stack when it gets this signal. Its default is to be ignored."""
DUMP_TIMEOUT = 0.1
"""Maximum seconds to wait for a stack: the process may be stopped, or get no processor."""
MAX_DUMP_BYTES = 100_000
DUMP_HEADER = "Stack (most recent call first):\n"
CUT_OFF = b"  ...\n"
"""What ends a dump of 100 calls, if there are more."""
STEP = f" in {RUN_HANDLE.co_name}\n".encode()
"""What a dump has of the call that runs the step."""
CALL = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)

_dumps = threading.Lock()
"""Guards the file, where a process has several monitors."""

Kind = Literal["busy", "blocked", "garbage collection"]


@dataclass(frozen=True, slots=True)
class SlowStep:
    """A step that blocked the loop. `stack` was sampled most often, innermost call last."""

    kind: Kind
    seconds: float
    wall_seconds: float
    callback: str
    stack: traceback.StackSummary

    def __str__(self) -> str:
        where = "".join(self.stack.format()) or "  (over before its stack could be read)\n"
        return f"event loop blocked for {1000 * self.seconds:.0f} ms ({self.kind}) by {self.callback}\n{where}"


@dataclass(slots=True)
class _Step:
    handle: Any
    started: float
    cpu_started: float
    collecting: float = 0.0
    """CPU seconds of garbage collections, which do not count for this step."""
    seen_cpu: float = 0.0
    asleep: float = 0.0
    """Seconds for which the thread has slept at one position."""
    longest_sleep: float = 0.0
    samples: list[traceback.StackSummary] = field(default_factory=list)
    is_reported: bool = False
    is_exempt: bool = False


class LoopMonitor:
    """Watches the loop of the thread that enters it, until the block ends."""

    def __init__(self, limit: float, report: Callable[[SlowStep], None], blocked: float = BLOCKED) -> None:
        self._limit = limit
        self._report = report
        self._blocked = blocked
        self._interval = min(SAMPLE_INTERVAL, limit / 2)
        self._step: _Step | None = None
        self._paused = 0
        self._stopping = threading.Event()
        self._collection_started: float | None = None
        self._sampler = threading.Thread(target=self._sample, name="event loop monitor", daemon=True)

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        self._native = threading.get_native_id()
        _dump_file(os.getpid())  # there may be no free file descriptor later
        self._original = asyncio.Handle._run
        asyncio.Handle._run = self._measured(self._original)  # type: ignore[method-assign, assignment]
        gc.callbacks.append(self._on_collection)
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.Handle._run = self._original  # type: ignore[method-assign]
        gc.callbacks.remove(self._on_collection)
        self._stopping.set()
        self._sampler.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Ignore steps in this block: for the start of a process, before it serves."""
        self._paused += 1
        if self._step:
            self._step.is_exempt = True
        try:
            yield
        finally:
            self._paused -= 1
            if self._step:
                self._step.is_exempt = True

    def _measured(self, run: Callable[[Any], None]) -> Callable[[Any], None]:
        def _run(handle: Any) -> None:
            if threading.get_ident() != self._thread or self._step:
                return run(handle)
            now = time.thread_time()
            step = _Step(handle, time.perf_counter(), now, seen_cpu=now, is_exempt=self._paused > 0)
            self._step = step
            try:
                return run(handle)
            finally:
                self._step = None
                self._check(step)

        return _run

    def _check(self, step: _Step) -> None:
        used = time.thread_time() - step.cpu_started
        if step.is_exempt or step.is_reported:
            return
        if used - step.collecting > self._limit:
            self._report_step(step, "busy", used - step.collecting)
        elif step.collecting > self._limit:
            self._report_step(step, "garbage collection", step.collecting)
        elif step.longest_sleep >= self._blocked:
            self._report_step(step, "blocked", step.longest_sleep)

    def _report_step(self, step: _Step, kind: Kind, seconds: float) -> None:
        step.is_reported = True
        wall = time.perf_counter() - step.started
        self._report(SlowStep(kind, seconds, wall, _describe(step.handle), _most_frequent(list(step.samples))))

    def _on_collection(self, phase: str, _: Mapping[str, int]) -> None:
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._collection_started = time.thread_time()
        elif self._collection_started is not None:
            if self._step:
                self._step.collecting += time.thread_time() - self._collection_started
            self._collection_started = None

    # The sampling thread

    def _sample(self) -> None:
        while not self._stopping.wait(self._interval):
            step = self._step
            if step and time.perf_counter() - step.started >= self._interval:
                self._look_at(step)

    def _look_at(self, step: _Step) -> None:
        cpu, is_asleep = self._cpu_of_loop_thread(), self._is_asleep()  # before it is woken to write its stack
        stack = _read_stack(self._thread, lambda: self._step is not step)
        if self._step is not step:
            return  # the stack is that of a later step
        is_at_same_position = step.samples[-1:] == [stack]
        step.samples = [*step.samples[1 - MAX_SAMPLES :], stack]
        is_still = is_at_same_position and is_asleep and (cpu is None or cpu - step.seen_cpu < STILL_CPU)
        step.asleep = step.asleep + self._interval if is_still else 0.0
        step.longest_sleep = max(step.longest_sleep, step.asleep)
        step.seen_cpu = self._cpu_of_loop_thread() or 0.0
        if not (step.is_reported or step.is_exempt):
            self._report_endless(step, cpu)

    def _report_endless(self, step: _Step, cpu: float | None) -> None:
        if step.asleep >= self._blocked:
            self._report_step(step, "blocked", step.asleep)
        elif self._collection_started is not None:
            return  # it counts when it has ended
        elif cpu is not None and cpu - step.cpu_started - step.collecting > ENDLESS * self._limit:
            self._report_step(step, "busy", cpu - step.cpu_started - step.collecting)

    def _cpu_of_loop_thread(self) -> float | None:
        """Return the CPU seconds of the loop's thread; None on macOS."""
        if sys.platform != "linux":
            return None
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread))

    def _is_asleep(self) -> bool:
        """Return whether the thread sleeps, rather than waits for a processor."""
        with suppress(OSError):
            stat = Path(f"/proc/self/task/{self._native}/stat").read_text()
            return stat.rpartition(")")[2].split()[0] in "SD"
        return True


def log_slow_steps(limit_ms: int) -> None:
    """Log an error for each step that blocks this thread's loop for longer, until the process ends."""
    count = 0

    def report(step: SlowStep) -> None:
        nonlocal count
        count += 1
        log.error(
            f"event loop blocked for {1000 * step.seconds:.0f} ms",
            kind=step.kind,
            wall_ms=round(1000 * step.wall_seconds),
            count=count,
            callback=step.callback,
            stack="".join(step.stack.format()),
        )

    LoopMonitor(limit_ms / 1000, report).__enter__()


def _describe(handle: Any) -> str:
    """Return the name of the coroutine or callback, without arguments, which may contain secrets."""
    callback = handle._callback
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine = owner.get_coro()
        return str(getattr(coroutine, "__qualname__", type(coroutine).__name__))
    return str(getattr(callback, "__qualname__", type(callback).__name__))


def _most_frequent(samples: list[traceback.StackSummary]) -> traceback.StackSummary:
    """Return the stack that was sampled most often."""
    if not samples:
        return traceback.StackSummary()
    paths = [tuple((frame.filename, frame.name) for frame in sample) for sample in samples]
    (most, _), *_ = Counter(paths).most_common(1)
    return samples[paths.index(most)]


# Stacks. The thread writes its own to a file, in `faulthandler`'s signal handler. A dump of all threads has crashed the
# interpreter (3.11.7): it reads the list of threads, to which threads of Temporal's SDK are added meanwhile. So has
# walking the frames of a running thread from Python.


@cache
def _dump_file(process: int) -> int:
    """Open the file into which a thread of this process writes its stack when it gets `DUMP_SIGNAL`.

    It stays open, and the handler registered: a handler that still runs would register itself once more. Only with
    `chain`, it restores `errno`, for a thread between a system call and the look at its result.
    """
    if sys.platform == "linux":
        descriptor = os.memfd_create("stack")  # a container may have no folder to which it can write
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    faulthandler.register(DUMP_SIGNAL, descriptor, all_threads=False, chain=True)
    return descriptor


def _read_stack(thread: int, is_over: Callable[[], bool]) -> traceback.StackSummary:
    """Return the calls of the step that a thread is in, at most 100, without those of the loop; any, if it is over."""
    file = _dump_file(os.getpid())
    with _dumps:
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        signal.pthread_kill(thread, DUMP_SIGNAL)
        calls = _written_calls(file, is_over)
    of_step = list(takewhile(lambda call: not _runs_a_handle(call), calls))
    return traceback.StackSummary.from_list(reversed(of_step))


def _written_calls(file: int, is_over: Callable[[], bool]) -> list[traceback.FrameSummary]:
    """Wait until those of the step are in the file, innermost first; return what there is when it is over."""
    deadline = time.perf_counter() + DUMP_TIMEOUT
    while True:
        written = os.pread(file, MAX_DUMP_BYTES, 0)
        is_complete = STEP in written or written.endswith(CUT_OFF)
        if is_complete or is_over() or time.perf_counter() >= deadline:
            break
        time.sleep(0.002)
    return [
        traceback.FrameSummary(file_name, int(line), name, lookup_line=False)
        for file_name, line, name in CALL.findall(written.decode(errors="replace").rpartition(DUMP_HEADER)[2])
    ]


def _runs_a_handle(call: traceback.FrameSummary) -> bool:
    return (call.filename, call.name) == (RUN_HANDLE.co_filename, RUN_HANDLE.co_name)
