"""What CI does with a case that fails: one second run, alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.ci import MAX_UNSTABLE, ROOT, Run

CASES = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("n", range({unstable}))
def test_unstable(n):
    seen = Path(__file__).parent / f"seen-{{n}}"
    if not seen.exists():
        seen.touch()
        pytest.fail("only at first")

@pytest.mark.parametrize("n", range({broken}))
def test_broken(n):
    pytest.fail("always")

def test_right():
    pass
"""


@pytest.fixture(autouse=True)
def few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """All plugins take seconds to load."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


PYTEST = (sys.executable, "-m", "pytest", "-q")


def run_ci(folder: Path, recipe: str = "", unstable: int = 0, broken: int = 0) -> tuple[int, Run]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_cases.py").write_text(CASES.format(unstable=unstable, broken=broken))
    (folder / "Makefile").write_text(f"test:\n\t@{recipe or ' '.join(PYTEST)}\n")
    run = Run(folder, PYTEST)
    run.tests("test", "make", "test")
    return run.report(), run


def test_a_case_that_passes_alone_is_named_as_unstable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, run = run_ci(tmp_path, unstable=MAX_UNSTABLE)
    names = [f"test_cases.py::test_unstable[{n}]" for n in range(MAX_UNSTABLE)]
    assert (code, run.unstable, run.failed) == (0, names, [])
    *_, first, second = capsys.readouterr().out.splitlines()
    assert names[0] in first and names[1] in second, "the last lines"
    kept = {file.name: file.read_text() for file in (tmp_path / "build/ci").iterdir()}
    assert "only at first" in kept.pop("test.log")
    assert len(kept) == MAX_UNSTABLE and all("1 passed" in output for output in kept.values())


@pytest.mark.parametrize(
    ("cases", "failed"),
    [
        ((MAX_UNSTABLE + 1, 0), MAX_UNSTABLE + 1),
        ((0, 1), 1),
        ((1, 1), 1),
    ],
    ids=["three unstable cases", "one that fails twice", "one of each"],
)
def test_what_fails_the_run(tmp_path: Path, cases: tuple[int, int], failed: int) -> None:
    code, run = run_ci(tmp_path, "", *cases)
    assert (code, len(run.failed)) == (1, failed)


@pytest.mark.parametrize("code", [2, 3, 139])
def test_tests_that_did_not_all_run_fail_the_run(tmp_path: Path, code: int) -> None:
    """A case that failed before pytest itself did is not run again: others were never run."""
    assert run_ci(tmp_path, f"{' '.join(PYTEST)}; exit {code}", unstable=1)[0] == 1


def test_without_a_failure_nothing_runs_twice(tmp_path: Path) -> None:
    code, run = run_ci(tmp_path)
    assert (code, list(run.times)) == (0, ["test"])


def test_a_case_that_had_failed_before_counts_too(tmp_path: Path) -> None:
    """Timeline: a case fails in a run by hand; in that of CI it fails again, beside one that is unstable."""
    run_ci(tmp_path, broken=1)
    code, run = run_ci(tmp_path, unstable=1, broken=1)
    assert (code, run.failed) == (1, ["test_cases.py::test_broken[0]"])


@pytest.mark.parametrize("target", ["test", "test-rest", "test-alone"])
@pytest.mark.parametrize(("code", "passes"), [(0, True), (5, True), (1, False), (2, False), (3, False), (139, False)])
def test_the_makefile_passes_on_how_pytest_ended(tmp_path: Path, target: str, code: int, passes: bool) -> None:
    """Otherwise a run in which pytest itself failed looks like one in which cases did. 5: no case was selected."""
    (tmp_path / "python").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "python").chmod(0o755)
    made = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), f"BIN={tmp_path}", "DEV=", target],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (made.returncode == 0) is passes
    assert passes or f"Error {code}" in made.stderr
