"""Saved histories of real runs replay with the present code."""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from hookkeeper.temporal.server.data_converter import data_converter
from hookkeeper.temporal.workers.serve import WORKFLOW_RUNNER
from saved_histories import HISTORIES, load
from worker import WORKFLOWS

PATHS = sorted(HISTORIES.glob("*.json"))
STORIES = {
    "cancelled",
    "cancelled_by_temporal",
    "channels",
    "deferred",
    "deferred_and_commanded",
    "delivered",
    "disabled",
    "exhausted",
    "forced_across_its_time",
    "forced_across_its_recheck",
    "forced_held_and_released",
    "gone",
    "incident",
    "large",
    "moved",
    "ordered",
    "ordered_scheduled",
    "ordered_skipped",
    "paused",
    "probed",
    "recorded_late",
    "recovered",
    "redelivered",
    "released",
    "retried",
    "retried_in_bulk",
    "scheduled",
    "shared_apart",
    "shared_commands",
    "shared_continued",
    "shared_moved",
    "shared_own_run",
    "shared_own_run_cancelled",
    "shared_replaced",
    "shared_succeeded",
    "shared_waiting",
    "tenant_deleted",
    "sibling",
    "siblings",
    "tracked_bounced",
    "tracked_delivered",
}


def replayer() -> Replayer:
    return Replayer(workflows=WORKFLOWS, data_converter=data_converter(), workflow_runner=WORKFLOW_RUNNER)


def test_a_history_of_each_kind_is_saved() -> None:
    assert {path.stem for path in PATHS} >= STORIES


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
async def test_a_saved_history_replays(path: Path) -> None:
    history = load(path)
    assert len(history.events) > 3
    await replayer().replay_workflow(history)


async def test_a_history_with_another_activity_does_not_replay() -> None:
    """The check can fail: a history whose activity is another one does not replay."""
    text = (HISTORIES / "retried.json").read_text().replace("deliver_webhooks", "deliver_pigeons")
    with pytest.raises(Exception, match=r"(?i)nondeterminism|does not match"):
        await replayer().replay_workflow(WorkflowHistory.from_json("event-retried", text))
