"""Translate Temporal's errors to those of Hookkeeper, and limit the time of each operation.

GatewayError
├── Unavailable        Temporal, or the worker of an open run, cannot be reached: try again
│   ├── NamespaceUnprepared   the namespace lacks search attributes: `hookkeeper migrate`
│   └── WrongRegistry         the namespace does not belong to this registry
├── RequestTooLarge    Temporal accepts no request of this size
├── UnknownEvent       the event has no run, or its retention is over
├── UnknownRecovery    there is no such recovery
└── Conflict           another event or recovery has this id

An error that none of these describes is a bug, and stays an `RPCError`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import temporal_names
from hookkeeper.crypto.keyring import CipherError

OPERATION_TIMEOUT = 4.5
"""Seconds for one operation in all; `POST /v1/events` promises its 503 within 5."""

UNAVAILABLE_STATUSES = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.FAILED_PRECONDITION,  # a query, and no worker to answer it
        RPCStatusCode.UNKNOWN,  # "transport error": the connection broke
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.PERMISSION_DENIED,
    }
)
TOO_LARGE_MESSAGES = ("Blob data size exceeds limit", "received message after decompression larger than max")
"""Texts of `INVALID_ARGUMENT` for an input, and of `RESOURCE_EXHAUSTED` for a whole request."""
TOO_MANY_SIGNALS_MESSAGE = "limit for signal"
"""Part of the text of `INVALID_ARGUMENT` for the 10,001st signal of a run, until the run continues as new."""


class GatewayError(Exception):
    """An error that is reported to the caller."""


class Unavailable(GatewayError):
    """The operation may or may not have happened; trying again with the same ids is safe."""


class NamespaceUnprepared(Unavailable):
    """The namespace lacks what `hookkeeper migrate` makes."""

    def __init__(self, details: Sequence[str]) -> None:
        super().__init__(
            f"the Temporal namespace is not prepared: {'; '.join(details)}. Run `hookkeeper migrate`: it"
            " makes what is missing, or prints the commands for an administrator"
        )


class WrongRegistry(Unavailable):
    """The namespace belongs to another registry, or the registry to another namespace."""

    fault = "does not belong to this registry"
    remedy = "correct HOOKKEEPER_DATABASE_URL or TEMPORAL_NAMESPACE, or run `hookkeeper adopt` if both are right"

    def __init__(self, namespace: str, task_queue: str) -> None:
        self.found = f"the Temporal namespace {namespace} (task queue {task_queue}) {self.fault}"
        super().__init__(f"{self.found}: {self.remedy}")


class TemporalIsNew(WrongRegistry):
    """The namespace belongs to no registry, and this one belongs to it: Temporal has lost its data."""

    fault = "has lost what belongs to this registry"
    remedy = (
        "restore Temporal, or correct TEMPORAL_ADDRESS, or run `hookkeeper adopt`, which starts all open events again"
    )


class RequestTooLarge(GatewayError):
    """Nothing was done: Temporal accepts no request of this size."""


class UnknownEvent(GatewayError):
    """The event has no run."""


class UnknownRecovery(GatewayError):
    """There is no such recovery."""


class Conflict(GatewayError):
    """The id belongs to another event, or a recovery of the same deliveries is running."""


NOT_FOUND_MESSAGES: dict[type[GatewayError], str] = {
    UnknownEvent: "no such event",
    UnknownRecovery: "no such recovery",
    Unavailable: "Temporal found nothing by this name: its namespace may not exist",
}


@asynccontextmanager
async def translated_errors(not_found: type[GatewayError] = UnknownEvent) -> AsyncIterator[None]:
    """Limit the time of an operation, and translate Temporal's errors; `NOT_FOUND` becomes `not_found`."""
    try:
        async with asyncio.timeout(OPERATION_TIMEOUT):
            yield
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise Unavailable("Temporal, or the worker of this run, did not answer in time") from error
    except CipherError as error:
        raise Unavailable(f"the run cannot be read: it is {error}") from error
    except RPCError as error:
        if (translated := _translated(error, not_found)) is None:
            raise
        raise translated from error


@contextmanager
def not_found_suppressed() -> Iterator[None]:
    """End the block if Temporal has no run or schedule of this id."""
    try:
        yield
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise


def _translated(error: RPCError, not_found: type[GatewayError]) -> GatewayError | None:
    """Return the error that describes Temporal's; None if it is a bug of ours."""
    if error.status == RPCStatusCode.NOT_FOUND:
        return not_found(NOT_FOUND_MESSAGES[not_found])
    if any(text in error.message for text in TOO_LARGE_MESSAGES):
        return RequestTooLarge("Temporal accepts no request of this size")
    if error.status == RPCStatusCode.INVALID_ARGUMENT and (missing := _missing_search_attribute(error.message)):
        return NamespaceUnprepared([f"search attribute {missing} is missing or has another type"])
    if error.status == RPCStatusCode.INVALID_ARGUMENT and TOO_MANY_SIGNALS_MESSAGE in error.message:
        return Unavailable("the run has too many signals until its present step ends")
    if error.status in UNAVAILABLE_STATUSES:
        return Unavailable("Temporal, or the worker of this run, cannot be reached")
    return None


def _missing_search_attribute(message: str) -> str | None:
    """Return the search attribute in the server's message, unless its value is too large: the server has none of that
    name and type.
    """
    if "exceeds" in message:
        return None
    return next(
        (name for name in sorted(temporal_names.SEARCH_ATTRIBUTES, key=len, reverse=True) if name in message), None
    )
