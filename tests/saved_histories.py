"""The saved histories of real runs, with their ids: a run whose id is not one of Hookkeeper's records nothing."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import Replayer

from hookkeeper.temporal.workers.serve import WORKFLOW_RUNNER
from worker import WORKFLOWS

HISTORIES = Path(__file__).parent / "workflows" / "histories"
PATHS = sorted(HISTORIES.rglob("*.json"))


def load(path: Path) -> WorkflowHistory:
    text = path.read_text()
    started = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], text)


async def failures(converter: DataConverter, change: Callable[[WorkflowHistory], None]) -> dict[str, Exception | None]:
    """Replay all saved histories, each changed like this, with one replayer; return what failed, by file."""
    names: dict[str, str] = {}

    async def changed() -> AsyncIterator[WorkflowHistory]:
        for path in PATHS:
            history = load(path)
            change(history)
            names[history.run_id] = str(path.relative_to(HISTORIES))
            yield history

    replayer = Replayer(workflows=WORKFLOWS, data_converter=converter, workflow_runner=WORKFLOW_RUNNER)
    async with replayer.workflow_replay_iterator(changed()) as results:
        replayed = {names[result.history.run_id]: result.replay_failure async for result in results}
    assert len(replayed) == len(PATHS) > 0
    return {name: failure for name, failure in replayed.items() if failure}
