"""Ask an open run to do something, and wait for its answer."""

from typing import Any, NoReturn

from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper.commands import Refused, RunIsClosing, UnknownDelivery


async def update(handle: WorkflowHandle[Any, Any], name: str, argument: object) -> bool:
    """Send an update; False when the run has closed or moved on meanwhile. Raises what the run's validator does."""
    try:
        await handle.execute_update(name, argument)
    except WorkflowUpdateFailedError as error:
        if isinstance(error.cause, ApplicationError) and error.cause.type == RunIsClosing.__name__:
            return False
        _raise_refusal(error)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


def _raise_refusal(error: WorkflowUpdateFailedError) -> NoReturn:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        if cause.type == Refused.__name__:
            raise Refused(cause.message) from error
        if cause.type == UnknownDelivery.__name__:
            raise UnknownDelivery(cause.message) from error
    raise error
