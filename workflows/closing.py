"""How the run of an event closes: Failed and Cancelled keep the final state, as Completed does with its result."""

import asyncio
from datetime import timedelta

from pydantic import BaseModel
from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.runs import RunActivities
from hookkeeper import error_types
from hookkeeper.messages.event import CancelledRun
from workflows.activities import run_until_done


def deliveries_failed(failed: int, total: int, state: BaseModel) -> ApplicationError:
    """Return the error with which a run fails."""
    return ApplicationError(
        f"{failed} of {total} deliveries failed",
        state,
        type=error_types.DELIVERIES_FAILED,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )


async def prepare_cancelled(tenant: str, state: BaseModel, is_cancel_requested: bool) -> None:
    """Keep the final state in history, and request the run's cancellation unless it was: only then can a run close as
    cancelled.
    """
    closing = asyncio.create_task(
        run_until_done(
            RunActivities.close_as_cancelled,
            CancelledRun(state=state.model_dump(mode="json"), request_cancel=not is_cancel_requested),
            start_to_close_timeout=timedelta(seconds=10),
            priority=Priority(fairness_key=tenant),
            summary="keep the final state, close as cancelled",
        )
    )
    try:
        # The cancellation that the activity requests arrives here.
        await workflow.wait_condition(lambda: is_cancel_requested and closing.done())
    except asyncio.CancelledError:
        await workflow.wait_condition(closing.done)
    await closing
