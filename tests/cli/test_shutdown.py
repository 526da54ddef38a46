"""What `dev` reports if its own shutdown hangs. `tests/e2e/test_bounded_shutdown.py` has those of worker and API."""

import subprocess
import sys

from cli.processes import FAILED

HANGING = """
import time
from cli.local.dev import print_hang
from cli.processes import SHUTDOWN_MARGIN, ShutdownDeadline

def hang():
    time.sleep(60)

ShutdownDeadline(-SHUTDOWN_MARGIN, print_hang).begin()
hang()
"""


def test_dev_prints_the_stacks_of_what_hangs_and_ends() -> None:
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=50)
    assert done.returncode == FAILED
    assert "shutdown did not end within 0 s: the process exits now" in done.stderr
    assert ", in hang" in done.stderr
