"""Run activities until they return a result, also if a person ends them in Temporal's own tools.

Activities are retried without limit by their policy. They can still end in other ways: `temporal activity fail` or
`complete`, a maximum of attempts or a timeout set by `temporal activity update-options`, a failure that is not retried.
A run cannot continue with such an end, so it schedules the activity again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Generic, NamedTuple, TypeVar, Unpack, get_type_hints

from temporalio import workflow
from temporalio.common import Priority, RawValue, RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityConfig

from hookkeeper import task_queues
from workflows import timers

INTERNAL_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))
"""After internal errors (registry unreachable, worker killed, a bug): without limit, and charged to no webhook."""
ONCE = RetryPolicy(maximum_attempts=1)
RESCHEDULE_INTERVAL = timedelta(minutes=1)
"""An activity that was ended from outside is scheduled again after this time."""
BULK_HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""After a worker has died, its steps of bulk work continue on another one after this time."""

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class NamedActivity(NamedTuple, Generic[Result]):
    """An activity that code outside makes, by its name."""

    name: str
    result: type[Result]


async def run_until_done(
    activity: Callable[[Any, Argument], Awaitable[Result]] | NamedActivity[Result],
    argument: Argument,
    *,
    is_expected: Callable[[ActivityError], bool] = lambda error: False,
    is_complete: Callable[[Result], bool] = lambda result: True,
    **config: Unpack[ActivityConfig],
) -> Result:
    """Run an activity and return its result; if it ends otherwise, schedule it again after a minute, without limit.

    Raises CancelledError if the calling task is cancelled, and an ActivityError that `is_expected`. A result that is
    not `is_complete` was written by a person, and counts as an end of another kind.
    """
    config.setdefault("retry_policy", INTERNAL_RETRY)
    name, result_type = _described(activity)
    while True:
        try:
            # Decoded here: in the SDK, a result that a person wrote would fail each workflow task.
            raw = await workflow.start_activity(name, argument, result_type=RawValue, **config)
            result: Result = _decoded(raw, result_type)
            if is_complete(result):
                return result
            reason = "its result is not complete"
        except ActivityError as error:
            if is_cancelling() or is_expected(error):
                raise
            reason = str(error.cause or error)
        except ValueError as error:
            reason = str(error)
        workflow.logger.warning(
            "activity %s ended in a way that was not requested (%s): it is scheduled again in one minute", name, reason
        )
        await timers.sleep(RESCHEDULE_INTERVAL, f"{name} was ended from outside: scheduled again in 1 min")


async def run_at_once(
    activity: NamedActivity[Result], argument: Any, timeout: timedelta, summary: str | None
) -> Result:
    """Run an activity once, within the present workflow task. Raises ActivityError if it fails."""
    result: Result = await workflow.start_local_activity(
        activity.name,
        argument,
        result_type=activity.result,
        start_to_close_timeout=timeout,
        retry_policy=ONCE,
        summary=summary,
    )
    return result


async def run_bulk_step(
    activity: Callable[[Any, Argument], Awaitable[Result]],
    argument: Argument,
    *,
    tenant: str,
    timeout: timedelta,
    summary: str,
) -> Result:
    """Run a step of bulk work, in the task queue of such steps."""
    return await run_until_done(
        activity,
        argument,
        task_queue=task_queues.bulk_queue(workflow.info().task_queue),
        start_to_close_timeout=timeout,
        heartbeat_timeout=BULK_HEARTBEAT_TIMEOUT,
        priority=Priority(fairness_key=tenant),
        summary=summary,
    )


def _described(activity: Callable[..., Any] | NamedActivity[Any]) -> tuple[str, Any]:
    if isinstance(activity, NamedActivity):
        return activity
    return activity.__name__, get_type_hints(activity)["return"]


def _decoded(raw: RawValue | None, type_: type) -> Any:
    if type_ is type(None):
        return None
    if raw is None:
        raise ValueError("it has no result")
    try:
        return workflow.payload_converter().from_payload(raw.payload, type_)
    except (ValueError, TypeError, LookupError, RuntimeError) as error:
        raise ValueError(f"its result cannot be read: {type(error).__name__}") from None


def is_cancelling() -> bool:
    """Return whether the calling task is being cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
