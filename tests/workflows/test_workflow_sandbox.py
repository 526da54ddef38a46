"""Workflow code passes the SDK's sandbox, in which it does not run in production (decision 32).

The sandbox imports the modules of `workflows` anew for each run, and refuses clocks, random numbers and I/O in them.
All other modules are passed through: what workflow code calls in them is pure.
"""

import random
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from hookkeeper.temporal.server.data_converter import data_converter
from saved_histories import HISTORIES, load
from worker import WORKFLOWS

PASSED_THROUGH = ("activities", "hookkeeper", "pytest", "worker")
SANDBOX = SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))
STORIES = (
    *("incident", "channels", "retried", "forced_held_and_released", "ordered_scheduled", "tracked_bounced"),
    *("large", "siblings", "sibling", "probed", "recovered", "released", "firings/waited_for"),
    *("recorded_late", "shared_continued", "shared_moved", "shared_waiting"),
)
"""At least one of each workflow. A run takes a tenth of a second more in this sandbox than without."""
FORBIDDEN: dict[str, Callable[[], object]] = {
    "time": lambda: time.time(),
    "now": lambda: datetime.now(UTC),
    "random": lambda: random.random(),
    "uuid": lambda: uuid.uuid4(),
}


@workflow.defn
class Undetermined:
    @workflow.run
    async def run(self, name: str) -> str:
        try:
            FORBIDDEN[name]()
        except workflow.NondeterminismError as error:
            raise ApplicationError(str(error), non_retryable=True) from error
        return "it was allowed"


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_the_sandbox_refuses_what_a_replay_would_not_repeat(temporal: Client, name: str) -> None:
    queue = f"sandbox-{uuid.uuid4().hex}"
    async with Worker(temporal, task_queue=queue, workflows=[Undetermined], workflow_runner=SANDBOX):
        with pytest.raises(WorkflowFailureError) as raised:
            await temporal.execute_workflow(Undetermined.run, name, id=queue, task_queue=queue)
    assert "Cannot access" in str(raised.value.cause)


async def test_all_kinds_of_runs_pass_the_sandbox() -> None:
    async def histories() -> AsyncIterator[WorkflowHistory]:
        for story in STORIES:
            yield load(HISTORIES / f"{story}.json")

    replayer = Replayer(workflows=WORKFLOWS, data_converter=data_converter(), workflow_runner=SANDBOX)
    results = await replayer.replay_workflows(histories(), raise_on_replay_failure=False)
    assert results.replay_failures == {}
