"""The fault drill itself, in its short form: the longest test here, with `make drill` for its ten minutes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS, RATE = 20, 5
"""A busy machine has no time for more: events would be refused, which the sender tolerates for a limited time only."""
TIMEOUT = 600


@pytest.mark.alone
@pytest.mark.timeout(TIMEOUT + 60)
def test_nothing_is_lost_while_processes_are_killed() -> None:
    """Setup: two workers, API, Temporal and PostgreSQL, each a process; a steady and a flaky receiver.
    Timeline: events all the time; a kill -9 every five seconds, a worker stopped for longer than its heartbeat.
    Proves: what was answered 2xx is delivered, no run is stuck, and only what was in flight comes twice.
    """
    # The same faults each time: `make drill` has a seed of its own each time, and so over the weeks many schedules.
    seed = os.environ.get("DRILL_SEED", "21")
    options = ("--seconds", SECONDS, "--rate", RATE, "--seed", seed, "--kinds", "kill", "stop")
    done = subprocess.run(
        [sys.executable, "-m", "drills", *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
