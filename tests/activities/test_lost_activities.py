"""Which workers have ended, by their identity."""

import os
import socket
import subprocess
import sys

import pytest

from hookkeeper.temporal.workers.local import has_ended


def identity(pid: int) -> str:
    return f"{pid}@{socket.gethostname()}"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the state of a process in /proc")
def test_a_process_that_its_parent_has_not_noticed_has_ended() -> None:
    """After `kill -9` of `dev`, its worker is a child of the first process, which may notice the end late."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert not has_ended(identity(process.pid))
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(identity(process.pid))
    process.wait()
    assert has_ended(identity(process.pid))


@pytest.mark.parametrize("other", ["1@elsewhere.example", "worker", "", "-1@" + socket.gethostname()])
def test_an_identity_of_another_form_names_no_process(other: str) -> None:
    assert not has_ended(other)
