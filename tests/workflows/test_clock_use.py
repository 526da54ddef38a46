"""No decision of a workflow depends on its clock.

When a query makes a new worker replay a run before the workflow task reaches it, `workflow.now()` is the time of an
earlier step (docs/internals/temporal.md). So a replay must make the same commands whatever the clock says.
"""

import ast
import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.client import WorkflowHistory

from hookkeeper.temporal.server.data_converter import data_converter
from saved_histories import failures

ROOT = Path(__file__).parents[2]

USES = {
    "timers.py:remaining": "the length of a timer",
    "event.py:_wait_until_due": "the end of a hold; only timers say that it has come",
    "dispatch.py:_due_at": "shown: how long an attempt was in the queue",
    "batches.py:record_outcomes": "the times of the next attempt and recheck; only timers say that they have come",
    "event.py:_close": "shown as finished_at",
    "record.py:put_state": "the time of a record, in the input of its activity",
    "record.py:put_deliveries": "the time of a record, in the input of its activity",
    "shared_run.py:_settle": "shown as finished_at",
    "deliver_at.py:release": "shown as deliver_at of an event that was released",
    "recovery.py:run": "shown as finished_at",
}
"""Where workflow code may read the clock, and why no command can depend on it."""


def workflow_code() -> list[Path]:
    files = sorted((ROOT / "workflows").glob("*.py"))
    return [path for path in files if "from temporalio import workflow" in path.read_text()]


def calls(name: str) -> set[str]:
    """Find the functions of workflow code that call this function of Temporal's, as `file:function`."""
    found = set()
    for path in workflow_code():
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                attributes = (node for node in ast.walk(function) if isinstance(node, ast.Attribute))
                if any(ast.unparse(node) == name for node in attributes):
                    found.add(f"{path.name}:{function.name}")
    return found


def test_the_clock_is_read_only_where_no_command_depends_on_it() -> None:
    assert calls("workflow.now") == set(USES)
    assert not calls("workflow.time") | calls("workflow.time_ns")


def test_timers_are_started_only_by_the_module_for_this() -> None:
    """`wait_condition` starts none where its timeout is zero, which is how a clock could decide."""
    assert {function.split(":")[0] for function in calls("workflow.sleep")} == {"timers.py"}


def test_no_wait_has_a_timeout() -> None:
    """Python 3.12 cancels such a timer a step earlier than 3.11: runs of one version did not replay with the other."""
    code = "\n".join(path.read_text() for path in workflow_code())
    waits = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert not [wait for wait in waits if ast.unparse(wait.func) == "workflow.wait_condition" and wait.keywords]
    assert not calls("asyncio.wait_for") | calls("asyncio.timeout")


def frozen(history: WorkflowHistory) -> None:
    """Let each step have the time of the first."""
    first = history.events[0].event_time
    set_clock(history, lambda _: first)


def late(history: WorkflowHistory) -> None:
    """Let each step have the time of the step before, as in a replay for a query."""
    times = [event.event_time for event in history.events if is_step(event)]
    before = iter([history.events[0].event_time, *times])
    set_clock(history, lambda _: next(before))


def ahead(history: WorkflowHistory) -> None:
    """Let each step be years later."""
    set_clock(history, lambda time: moved(time, timedelta(days=5000)))


def spread(history: WorkflowHistory) -> None:
    """Let each step come ten days after the one before: each recheck, hold, retry and receipt is overdue by then."""
    steps = itertools.count()
    set_clock(history, lambda time: moved(time, timedelta(days=10 * next(steps))))


def is_step(event: object) -> bool:
    return event.HasField("workflow_task_started_event_attributes")  # type: ignore[attr-defined, no-any-return]


def moved(time: Timestamp, by: timedelta) -> Timestamp:
    result = Timestamp()
    result.FromDatetime(time.ToDatetime() + by)
    return result


def set_clock(history: WorkflowHistory, clock: Callable[[Timestamp], Timestamp]) -> None:
    times = []
    for event in history.events:
        if is_step(event):
            time = Timestamp()
            time.CopyFrom(event.event_time)
            times.append((event, time))
    for event, time in times:
        event.event_time.CopyFrom(clock(time))


@pytest.mark.parametrize("clock", [frozen, late, ahead, spread])
async def test_each_history_replays_whatever_the_clock_says(clock: Callable[[WorkflowHistory], None]) -> None:
    assert await failures(data_converter(), clock) == {}
