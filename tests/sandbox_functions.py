"""What children of the sandbox may run in tests: the usual functions, and some that show their bounds."""

import operator
import os
import signal
import time
from pathlib import Path

from hookkeeper.sandbox.functions import FUNCTIONS as ALLOWED
from hookkeeper.sandbox.functions import Function
from hookkeeper.sandbox.messages import name_of

SOCKET = 0
"""Where a child finds its connection to the parent."""


def allocate(size: int) -> int:
    return len(bytes(size))


def compute(rounds: int) -> int:
    return sum(range(rounds))


def compute_and_note(rounds: int, file: str) -> int:
    """Compute, and note that this call was begun."""
    with Path(file).open("a") as begun:
        begun.write(f"{rounds}\n")
    return sum(range(rounds))


def write_to_parent(raw: str) -> None:
    """Do what code would do that had taken over the child: write these bytes to the parent, and end."""
    os.write(SOCKET, bytes.fromhex(raw))
    time.sleep(0.2)
    os._exit(0)


FUNCTIONS = (
    ALLOWED
    | {
        name_of(each): Function()
        for each in (
            *(operator.add, operator.floordiv, operator.mul, eval, len, time.sleep, signal.raise_signal),
            *(os.getpid, os.getpgrp, os.listdir, os.getenv, allocate, compute, compute_and_note, write_to_parent),
        )
    }
    | {"hookkeeper.content.templates.check": Function(), "hookkeeper.content.templates.render": Function()}
)
