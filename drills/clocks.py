"""Clocks that can be set, one for each process: libfaketime, preloaded, where it works on this machine.

Temporal's server is static and has the machine's clock. What only lasts, timeouts and pauses, goes by another clock,
which nobody can set.
"""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FAR = 86_400.0
"""Seconds: that a clock is wrong by so much is seen at once."""
NOTICED = 1.0
"""Seconds until a process goes by a clock that was set."""


class Clocks:
    """The clocks of processes, by name."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._folder = folder
        self._library = library

    def environment(self, name: str) -> dict[str, str]:
        """Give a process its clock, which is right at first."""
        self.set(name, 0.0)
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file(name)),
            "FAKETIME_CACHE_DURATION": str(int(NOTICED)),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            # With these two it costs less CPU time, but still so much that at 20 events a second heartbeats are missed.
            "NO_FAKE_STAT": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def set(self, name: str, ahead: float) -> None:
        """Set a clock so many seconds ahead, or back where that is negative."""
        fresh = self._file(name).with_suffix(".new")
        fresh.write_text(f"{ahead:+.1f}\n")
        fresh.replace(self._file(name))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.clock"


def clocks_in(folder: Path) -> Clocks | None:
    """Give clocks that keep their settings in `folder`; None where nothing here can set one."""
    found = (Clocks(folder, library) for library in _libraries() if library.exists())
    return next((each for each in found if _can_be_set(each)), None)


def _libraries() -> Iterator[Path]:
    """Name where it may be: in the package libfaketime, where Debian keeps it."""
    package = importlib.util.find_spec("libfaketime")
    for place in package.submodule_search_locations or () if package else ():
        yield Path(place) / "vendor/libfaketime/src/libfaketime.so.1"
    yield from Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")


def _can_be_set(clocks: Clocks) -> bool:
    environment = clocks.environment("probe")
    clocks.set("probe", FAR)
    ask = [sys.executable, "-c", "import time; print(time.time())"]
    seen = [
        subprocess.run(ask, env=each, capture_output=True, text=True, check=False).stdout for each in ({}, environment)
    ]
    try:
        right, wrong = map(float, seen)
    except ValueError:  # a library that cannot be loaded here leaves a process without a word, or none at all
        return False
    return wrong - right > FAR / 2
