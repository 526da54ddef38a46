"""What runs in a child of `elements.sandbox`: one call after the other, within bounds, until the parent is gone.

A request and an answer are each a pickle after its length. Imports that a call brings are not on its clock.
"""

import contextlib
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path

from elements.faults import Fault, TooCostly

LENGTH = struct.Struct("!Q")
READY = b"ready"
_ANSWER_LIMIT = 16 * 1024 * 1024


def main() -> None:
    """Serve the socket that is our standard input. The bounds are our last two arguments."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # when the children end is for the parent to say
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    cpu_seconds, memory = float(sys.argv[-2]), int(sys.argv[-1])
    _bound_memory(memory)
    with socket.socket(fileno=0) as parent, parent.makefile("rwb") as stream:
        stream.write(READY)
        stream.flush()
        _silence()
        while head := stream.read(LENGTH.size):
            answer = _answer(stream.read(*LENGTH.unpack(head)), cpu_seconds)
            stream.write(LENGTH.pack(len(answer)))
            stream.write(answer)
            stream.flush()


def _bound_memory(memory: int) -> None:
    """Bound the address space, and offer this process first where the machine has no memory left. macOS has neither."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _silence() -> None:
    """Drop what native code writes as it dies: a tenant could fill the log with it."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())


def _answer(request: bytes, cpu_seconds: float) -> bytes:
    """Make a call. The answer is what it gave and None, or None and what it raised."""
    try:
        function, args, kwargs = pickle.loads(request)  # noqa: S301
        # Its signal's default, to end the process, is the one thing that also stops native code.
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            answer = pickle.dumps((function(*args, **kwargs), None))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except Fault as fault:
        return pickle.dumps((None, fault))
    except (MemoryError, RecursionError):
        return pickle.dumps((None, TooCostly("takes too much memory, or is nested too deeply")))
    except UnicodeEncodeError:
        return pickle.dumps((None, Fault("half of a surrogate pair is not text, and cannot be sent")))
    except Exception:  # noqa: BLE001
        # Ours, not the tenant's: the parent raises it, and has a log.
        return pickle.dumps((None, RuntimeError(traceback.format_exc())))
    if len(answer) > _ANSWER_LIMIT:
        return pickle.dumps((None, TooCostly("comes to too much")))
    return answer
