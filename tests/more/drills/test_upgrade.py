"""The parts of the upgrade drill: an earlier release beside this one, and what it finds."""

import os
import subprocess
from pathlib import Path

import pytest
from test_supervisor import SLEEP, service, until

from cli.console import Failed
from drills.observations import Observations, ReceivedRequest
from drills.supervisor import Supervisor
from drills.upgrade import installed, judge_all, missing_times, nondeterminism, out_of_order
from drills.verdict import judge

ROOT = Path(__file__).parents[3]


def test_a_release_is_imported_from_its_revision_also_in_the_folder_of_another() -> None:
    with installed("HEAD") as python:
        code = "import api.app, hookkeeper, worker; print(hookkeeper.__file__, api.app.__file__, worker.__file__)"
        files = subprocess.check_output([python, "-P", "-c", code], cwd=ROOT, text=True).split()
        release = Path(python).parents[2]
        assert all(Path(file).is_relative_to(release / "code") for file in files)
    assert not release.exists()


def test_an_unknown_revision_is_named() -> None:
    with pytest.raises(Failed, match=r"nowhere.*name a revision of git"), installed("nowhere"):
        pass


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        ([], ("no event",)),
        (["ticks-20260102T080000Z"], ()),
        (["ticks-20260102T080020Z", "ticks-20260102T080010Z", "ticks-20260102T080000Z"], ()),
        (["ticks-20260102T080000Z", "ticks-20260102T080020Z"], ("2026-01-02 08:00:10+00:00",)),
    ],
)
def test_times_of_the_schedule_without_an_event(ids: list[str], wanted: tuple[str, ...]) -> None:
    assert missing_times(ids) == wanted


@pytest.mark.parametrize(
    ("delivered", "wanted"), [([], ()), ([0, 1, 2], ()), ([0, 2, 1, 3], ("ordered-2 before ordered-1",))]
)
def test_ordered_events_that_came_too_early(delivered: list[int], wanted: tuple[str, ...]) -> None:
    statuses = [(f"ordered-{n}", "ordered", 200) for n in delivered]
    others = [("held-9", "held", 200), ("ordered-9", "ordered", 503)]
    requests = [ReceivedRequest(id_, name, 0, 0, status, "") for id_, name, status in [*others, *statuses]]
    assert out_of_order(requests) == wanted


def test_logs_that_say_that_code_does_not_replay(tmp_path: Path) -> None:
    (tmp_path / "worker-1.log").write_text("started\nWARN [TMPRL1100] Nondeterminism error: Timer machine\n")
    (tmp_path / "worker-2.log").write_text("started\n")
    (tmp_path / "temporal.log").write_text("nondeterminism\n")
    assert nondeterminism(tmp_path) == ("worker-1.log: WARN [TMPRL1100] Nondeterminism error: Timer machine",)


def test_anything_wrong_fails_the_drill() -> None:
    assert judge_all({}, {"wrong answers": ()}, "").passed
    assert not judge_all({}, {"wrong answers": ("500",)}, "").passed
    judged = judge(Observations(("held",), (), (), (), {}, ()))
    assert judge_all({"held": judged}, {}, "").failures == {"held: accepted": ("no event was accepted",)}


async def test_a_service_is_replaced_by_one_of_its_name(tmp_path: Path) -> None:
    report = "import os, pathlib, time; me = pathlib.Path({me!r}); me.write_text('%s ' + str(os.getpid()))"
    old, new = (service(tmp_path, report % version, SLEEP) for version in ("old", "new"))
    async with Supervisor(tmp_path / "logs") as supervisor:
        await supervisor.start(old)
        first = supervisor.pid("worker")
        await supervisor.replace(new)
        await until(lambda: (tmp_path / "worker").read_text().startswith("new"))
        assert supervisor.pid("worker") not in (None, first)
        with pytest.raises(ProcessLookupError):
            os.kill(first or 0, 0)
