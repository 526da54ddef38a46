"""The benchmarks run. Their figures are for people: a slow machine fails no test."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import measure
from benchmarks.index_databases import Contents, fill, filled
from benchmarks.index_reports import reports
from benchmarks.pages import PAGES, SECOND_PAGE
from benchmarks.report import losses, markdown
from benchmarks.results import Results, Sample
from benchmarks.scenarios import SCENARIOS
from benchmarks.stream import Arrivals, Posted, Stream, percentile, to_socket
from benchmarks.timing import time_in_turn
from cli.console import Failed
from hookkeeper.registry.events.tables import events
from hookkeeper.times import utc_now
from written_index import WrittenIndex

ROOT = Path(__file__).parents[2]
TIMEOUT = 400


@pytest.mark.timeout(TIMEOUT + 30)
def test_a_small_run_measures_each_contender(tmp_path: Path) -> None:
    """Setup: Hookkeeper and bare Temporal, with receiver and load generator, each with processes of its own.
    Proves: `make bench` works; it fails for errors, and for nothing else.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "throughput", "--turns", "1", "--scale", "0.03"),
            *("--contenders", "bare", "hookkeeper", "dev", "--results", str(tmp_path)),
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
    assert [sample["contender"] for sample in results["samples"]] == ["bare", "hookkeeper", "dev"]
    for sample in results["samples"]:
        wanted = {column.metric for column in SCENARIOS["throughput"].columns}
        assert wanted <= set(sample["metrics"])
    assert "bare Temporal" in next(tmp_path.glob("*.md")).read_text()


@pytest.mark.timeout(TIMEOUT + 30)
async def test_an_index_is_filled_once_and_pages_of_it_are_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Setup: an index of 600 events in a folder, the API and Temporal as processes. Timeline: a run, the begin of
    another, and one that wants another number of events.
    Proves: all pages are loaded without an error, and the second run uses what the first has written.
    """
    first = await asyncio.to_thread(_run_index, tmp_path, events=600)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "written in" in first.stdout
    for name in (*PAGES, SECOND_PAGE):
        row = next(line for line in first.stdout.splitlines() if line.startswith(f"  {name}  "))
        p50, p95, largest = map(float, row.removeprefix(f"  {name}").split())
        assert 0 < p50 <= p95 <= largest
    async with filled("sqlite", tmp_path, 600):
        begun = capsys.readouterr().out
    assert "filled before" in begun
    assert "written in" not in begun
    other = await asyncio.to_thread(_run_index, tmp_path, events=300)
    assert other.returncode == 1
    assert "has 600 events" in other.stderr


def _run_index(folder: Path, events: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.index", "sqlite", "--keep", str(folder), "--repeats", "2"],
        cwd=ROOT,
        env={**os.environ, "BENCH_EVENTS": str(events)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


async def test_a_filling_that_was_stopped_goes_on(engine: AsyncEngine, capsys: pytest.CaptureFixture[str]) -> None:
    contents = Contents(events=700, until=utc_now() - timedelta(hours=1))
    expected = list(reports(contents.events, contents.until))
    await WrittenIndex(engine).write(expected[:50])
    await fill(engine, contents)
    async with engine.connect() as connection:
        found = set(await connection.scalars(select(events.c.id)))
    assert found == {report.event.id for report in expected}
    assert "written in" in capsys.readouterr().out
    await fill(engine, contents)
    assert capsys.readouterr().out == "  filled before: the latest event is 1.0 h old\n"


async def test_failures_are_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    async def succeed() -> None:
        """Take no time."""

    async def fail() -> None:
        raise Failed("503")

    await time_in_turn({"good": succeed, "bad": fail}, 3)
    _, good, bad = capsys.readouterr().out.splitlines()
    assert "failed" not in good
    assert bad.endswith("3 failed: 503")


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


def test_what_is_worse_than_before_is_listed(tmp_path: Path) -> None:
    """Timeline: three turns, in which the median of events/s is 6 % lower, that of CPU 10 % lower, and one fails."""
    results = Results(tmp_path / "results.json", {})
    for turn, ratio in enumerate((0.5, 0.94, 1.2)):
        results.add(Sample("throughput", "before", turn, 1.0, {"events_per_s": 200.0, "cpu_ms": 5.0}))
        results.add(Sample("throughput", "hookkeeper", turn, 1.0, {"events_per_s": 200 * ratio, "cpu_ms": 4.5}))
    for contender, milliseconds in (("before", 20.0), ("hookkeeper", 22.0)):
        results.add(Sample("idle", contender, 0, 1.0, {"socket_p50_ms": milliseconds, "answered_p50_ms": 5.0}))
    results.add(Sample("fanout", "hookkeeper", 0, 1.0, {}, "it did not start"))
    assert losses(results) == ["  throughput events_per_s: 0.94 (0.50–1.20) x", "  idle socket_p50_ms: 1.10 x"]


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
