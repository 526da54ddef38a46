"""Run what has to hold before a change lands, and say what each part took: `python -m scripts.ci`, by `.ci/run`.

A case that fails is run once more, alone. If it passes then, it is unstable: the run goes on, and the last lines name
it. Three unstable cases, or one that fails twice, fail the run. `build/ci` keeps the output of each part and of each
second run.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_UNSTABLE = 2
FAILED_CASES = ".pytest_cache/v/cache/lastfailed"
"""Where pytest keeps the cases that have failed and have not passed since, as the keys of a JSON object."""
TESTS_FAILED = re.compile(r"^make.*Error 1$", re.MULTILINE)
"""What make says where pytest has run all cases, and some failed. After anything else, a second run proves nothing."""


@dataclass
class Run:
    """The parts that have run in a folder, and the cases that passed at their second try."""

    folder: Path
    pytest: Sequence[str] = (sys.executable, "-m", "pytest", "-p", "no:xdist")
    times: dict[str, float] = field(default_factory=dict)
    """Seconds by part."""
    unstable: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def tests(self, name: str, *command: str) -> None:
        """Run a command that runs pytest, and each case that fails once more."""
        (self.folder / FAILED_CASES).unlink(missing_ok=True)  # that of an earlier run
        if self._run(name, command) == 0:
            return
        cases = self._failed_cases()
        if not TESTS_FAILED.search(self._log(name).read_text(errors="replace")):
            cases = []
        if not cases or len(cases) + len(self.unstable) > MAX_UNSTABLE:
            self.failed += cases or [name]
            return
        for case in cases:
            again = re.sub(r"\W+", "-", case)[-100:].strip("-")
            is_mended = self._run(f"again-{again}", (*self.pytest, case)) == 0
            (self.unstable if is_mended else self.failed).append(case)

    def check(self, name: str, *command: str) -> None:
        """Run a command that has to succeed."""
        if self._run(name, command) != 0:
            self.failed.append(name)

    def report(self) -> int:
        """Print the times of the parts and the cases that were run again; return the exit code."""
        lines = [f"{seconds // 60:3.0f}:{seconds % 60:02.0f}  {name}" for name, seconds in self.times.items()]
        lines += [f"unstable: {case} failed, and passed alone: build/ci has both outputs" for case in self.unstable]
        lines += [f"failed: {name}" for name in self.failed]
        sys.stdout.write("\n".join([*lines, ""]))
        return int(bool(self.failed))

    def _run(self, name: str, command: Sequence[str]) -> int:
        """Run a command, and show its output and keep it."""
        log = self._log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with (
            log.open("wb") as kept,
            subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process,  # noqa: S603 - a constant, or a case that pytest named
        ):
            assert process.stdout
            while part := os.read(process.stdout.fileno(), 1 << 16):
                kept.write(part)
                sys.stdout.buffer.write(part)
                sys.stdout.flush()
        self.times[name] = time.monotonic() - started
        return process.returncode

    def _log(self, name: str) -> Path:
        return self.folder / "build/ci" / f"{name}.log"

    def _failed_cases(self) -> list[str]:
        file = self.folder / FAILED_CASES
        return sorted(json.loads(file.read_text())) if file.exists() else []


def main() -> int:
    """Run the checks, then `make test-all`, a part at a time."""
    run = Run(ROOT)
    run.check("check", "make", "check")
    for part in ("test", "test-rest", "test-alone"):
        run.tests(part, "make", part)
    return run.report()


if __name__ == "__main__":
    sys.exit(main())
