"""Runs a drill in a short form, as its command."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
TIMEOUT = 600
SEED = os.environ.get("DRILL_SEED", "21")
"""The same faults each time: `make drill` has a seed of its own each time, and so over the weeks many schedules."""


def passes(*options: object) -> str:
    """Run a drill, which has to pass; return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "drills", *map(str, options), "--seed", SEED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
    return done.stdout
