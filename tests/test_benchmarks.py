"""The benchmarks run. Their figures are for people: a slow machine fails no test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import measure
from benchmarks.report import markdown
from benchmarks.results import Results, Sample
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.times import percentile, to_socket
from benchmarks.stream import Arrivals, Posted, Stream

ROOT = Path(__file__).parent.parent
TIMEOUT = 400


@pytest.mark.alone
@pytest.mark.timeout(TIMEOUT + 30)
def test_a_small_run_measures_each_contender(tmp_path: Path) -> None:
    """Setup: Hookkeeper and bare Temporal, with receiver and load generator, each with processes of its own.
    What this proves: `make bench` works; it fails for errors, and for nothing else.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "throughput", "--turns", "1", "--scale", "0.03"),
            *("--contenders", "bare", "hookkeeper", "--results", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert results["is_complete"]
    assert [sample["contender"] for sample in results["samples"]] == ["bare", "hookkeeper"]
    for sample in results["samples"]:
        wanted = {column.metric for column in SCENARIOS["throughput"].columns}
        assert wanted <= set(sample["metrics"])
    assert "bare Temporal" in next(tmp_path.glob("*.md")).read_text()


def test_ratios_compare_within_a_turn(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json", {})
    for turn, bare, hookkeeper in ((0, 10.0, 80.0), (1, 20.0, 180.0), (2, 40.0, 280.0)):
        results.add(Sample("throughput", "bare", turn, 1.0, {"events_per_s": bare}))
        results.add(Sample("throughput", "hookkeeper", turn, 1.0, {"events_per_s": hookkeeper}))
    results.add(Sample("throughput", "celery", 0, 1.0, {}, "it did not start"))
    rows = [line for line in markdown(results).splitlines() if line.startswith("| ")]
    assert "| 180 (80–280) | 8 (7–9) |" in rows[3]
    assert rows[4].endswith("| 0, 1 failed |")
    assert json.loads(results.file.read_text())["samples"][-1]["error"] == "it did not start"


def test_times_are_those_of_events_that_arrived() -> None:
    stream = Stream(group="g", events=3, tenants=("t",))
    posted = Posted(sent=[1.0, 2.0, 3.0], answered=[1.1, None, 3.1])
    assert to_socket(stream, posted, Arrivals(first={"g-0": 1.5, "g-2": 3.25})) == [500.0, 250.0]


@pytest.mark.parametrize(("percent", "expected"), [(50, 2.0), (95, 4.0), (100, 4.0)])
def test_percentile(percent: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_cpu_and_memory_include_children() -> None:
    own = {"own": os.getpid()}
    cpu, memory = measure.cpu_seconds(own)["own"], measure.memory_mb(own)["own"]
    work = "sum(range(3 * 10**7)); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        assert measure.cpu_seconds(own)["own"] - cpu >= 0.9 * measure.cpu_seconds({"child": child.pid})["child"] > 0
        assert measure.memory_mb(own)["own"] > 0 < memory
        child.communicate(b"\n")
