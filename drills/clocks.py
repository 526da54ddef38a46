"""Clocks that can be set, one for each process: libfaketime, preloaded, where it works on this machine.

Temporal's server is a static binary, so it has the machine's clock. Timeouts and pauses use the monotonic clock, which
stays right.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

TEST_STEP = 86_400.0
"""Seconds by which a clock is set to test whether it can be set."""
CLOCK_DELAY = 1.0
"""Seconds until a process uses a clock that was set."""


class Clocks:
    """The clocks of processes, by name."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._folder = folder
        self._library = library

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables that give a process its clock, which is right at first."""
        self.set(name, 0.0)
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file(name)),
            "FAKETIME_CACHE_DURATION": str(int(CLOCK_DELAY)),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            # These two save CPU time. It still takes so much that heartbeats are missed at 20 events a second.
            "NO_FAKE_STAT": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def set(self, name: str, ahead: float) -> None:
        """Set a clock ahead by these seconds, or back if they are negative."""
        fresh = self._file(name).with_suffix(".new")
        fresh.write_text(f"{ahead:+.1f}\n")
        fresh.replace(self._file(name))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.clock"


def clocks_in(folder: Path) -> Clocks | None:
    """Return clocks that store their settings in `folder`; None if none can be set on this machine."""
    package = importlib.util.find_spec("libfaketime")
    if package is None or package.origin is None:
        return None
    clocks = Clocks(folder, Path(package.origin).parent / "vendor/libfaketime/src/libfaketime.so.1")
    return clocks if _can_be_set(clocks) else None


def _can_be_set(clocks: Clocks) -> bool:
    environment = clocks.environment("probe")
    clocks.set("probe", TEST_STEP)
    command = [sys.executable, "-c", "import time; print(time.time())"]
    outputs = [
        subprocess.run(command, env=variables, capture_output=True, text=True, check=False).stdout
        for variables in ({}, environment)
    ]
    try:
        right, wrong = map(float, outputs)
    except ValueError:  # the library cannot be loaded, so the process printed nothing
        return False
    return wrong - right > TEST_STEP / 2
