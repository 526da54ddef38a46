"""How workflows run activities: until they return a result, whatever a person does to them in Temporal's own tools.

Our activities are retried without limit by their own policy. They can still end in a way that our code did not request:
`temporal activity fail` or `complete`, a limit of attempts or a timeout set by `temporal activity update-options`, a
failure that is not retried. A run that took such an end for a result, or for a reason to fail, could not go on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, Unpack

from temporalio import workflow
from temporalio.activity import _Definition
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityConfig

from workflows import timers
from workflows.internal_retry import INTERNAL_RETRY

RESCHEDULE_INTERVAL = timedelta(minutes=1)
"""An activity that was ended from outside is scheduled again after this."""

Argument = TypeVar("Argument")
Result = TypeVar("Result")


async def run_until_done(
    activity: Callable[[Any, Argument], Awaitable[Result]],
    argument: Argument,
    *,
    is_expected: Callable[[ActivityError], bool] = lambda error: False,
    is_complete: Callable[[Result], bool] = lambda result: True,
    **config: Unpack[ActivityConfig],
) -> Result:
    """Run an activity and return its result; where it ends otherwise, schedule it again after a minute, without limit.

    Two ends are raised: a cancellation of the calling task, also while it waits for that minute, and an error that
    `is_expected`. A result that is not `is_complete` was made up by a person, and counts as such an end.
    """
    definition = _Definition.must_from_callable(activity)
    config.setdefault("retry_policy", INTERNAL_RETRY)
    name = definition.name or ""
    while True:
        try:
            # Decoded here: where the SDK decodes it, a result that a person made up fails each workflow task.
            raw = await workflow.start_activity(name, argument, result_type=RawValue, **config)
            result: Result = _decoded(raw, definition.ret_type)
            if is_complete(result):
                return result
            reason = "its result is not complete"
        except ActivityError as error:
            if _is_cancelling() or is_expected(error):
                raise
            reason = str(error.cause or error)
        except ValueError as error:
            reason = str(error)
        workflow.logger.warning(
            "activity %s ended in a way that was not requested (%s): it is scheduled again in one minute", name, reason
        )
        await timers.sleep(RESCHEDULE_INTERVAL, f"{name} was ended from outside: scheduled again in 1 min")


def _decoded(raw: RawValue | None, type_: type | None) -> Any:
    if type_ is None or type_ is type(None):
        return None
    if raw is None:
        raise ValueError("it has no result")
    try:
        return workflow.payload_converter().from_payload(raw.payload, type_)
    except (ValueError, TypeError, LookupError, RuntimeError) as error:
        raise ValueError(f"its result cannot be read: {type(error).__name__}") from None


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
