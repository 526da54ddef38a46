"""Reads the stack of the step that an event loop runs in another thread.

The thread writes it to a file itself, in `faulthandler`'s signal handler. A dump of all threads has crashed the
interpreter (3.11.7): it reads the list of threads, to which threads of Temporal's SDK are added meanwhile. So has
walking the frames of a running thread from Python.
"""

import asyncio
import faulthandler
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache
from itertools import takewhile

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


def prepare() -> None:
    """Open the file of this process now: there may be no free file descriptor later."""
    _dump_file(os.getpid())


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


def read(thread: int, is_over: Callable[[], bool]) -> traceback.StackSummary:
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
