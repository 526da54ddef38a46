"""The program of a child of `hookkeeper.sandbox.pool`: one request after the other, until the parent is gone.

A request names a function of a fixed table. Importing it and decoding its arguments do not count as CPU time of a call.
"""

import contextlib
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hookkeeper.content.errors import ContentError, TooCostly
from hookkeeper.kind import load
from hookkeeper.sandbox.functions import Function
from hookkeeper.sandbox.messages import (
    LENGTH,
    MAX_ANSWER,
    ChildRequest,
    content_error,
    decoded,
    error,
    message,
    read_request,
    result,
)

READY = b"ready"
IMPORT = "import"
"""A request to import the modules of functions, without a call."""
_TOO_MUCH = "takes too much memory, or is nested too deeply"


def main() -> None:
    """Serve the socket on standard input. The last arguments are the table's module and the limits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    table, cpu_seconds, memory = sys.argv[-3], float(sys.argv[-2]), int(sys.argv[-1])
    functions: Mapping[str, Function] = load(f"{table}:FUNCTIONS")
    _limit_memory(memory)
    with socket.socket(fileno=0) as parent, parent.makefile("rwb") as stream:
        stream.write(READY)
        stream.flush()
        _silence()
        while head := stream.read(LENGTH.size):
            for answer in _answers(read_request(stream.read(*LENGTH.unpack(head))), functions, cpu_seconds):
                stream.write(answer)
                stream.flush()  # sent answers are not requested again if the next call ends this process
            stream.write(message(""))
            stream.flush()


def _limit_memory(memory: int) -> None:
    """Limit the address space, and let this process be killed first if memory runs out. Not on macOS."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _silence() -> None:
    """Discard what native code writes when it fails: a tenant could fill the log."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())


def _answers(request: ChildRequest, functions: Mapping[str, Function], cpu_seconds: float) -> Iterator[bytes]:
    """Make the first call, and further ones until the CPU time of one call has passed."""
    if request.function == IMPORT:
        for name in request.shared:
            _function(name)
        return
    function, began = functions[request.function], time.process_time()
    for arguments in request.arguments:
        yield _answer(request, function, arguments, cpu_seconds)
        if time.process_time() - began > cpu_seconds:
            return


def _answer(request: ChildRequest, function: Function, arguments: list[Any], cpu_seconds: float) -> bytes:
    try:
        run, given = _function(request.function), decoded(function, [*arguments, *request.shared])
        # The signal's default action, to end the process, also stops native code.
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            answer = result(function, run(*given, **request.named))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except ContentError as raised:
        return content_error(raised)
    except (MemoryError, RecursionError):
        return content_error(TooCostly(_TOO_MUCH))
    except UnicodeEncodeError:
        return content_error(ContentError("a lone surrogate is not text, and cannot be sent"))
    except Exception:  # noqa: BLE001
        # An internal error: the parent raises and logs it.
        return error(traceback.format_exc())
    if len(answer) > MAX_ANSWER:
        return content_error(TooCostly("has too large a result"))
    return answer


@cache
def _function(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return load(f"{module}:{attribute}")
