"""Temporal's faults in our own words, and in bounded time.

GatewayError
├── Unavailable        Temporal, or the worker that answers for an open run, is out of reach: try again
│   └── NamespaceUnprepared   our search attributes are not there: `hookkeeper migrate`
├── QueueFull           too many events of an ordered webhook wait for their turn: try again, later
├── UnknownEvent       there is no run of this event, or retention is over
├── UnknownSchedule    there is no such schedule
├── UnknownRecovery    there is no such recovery
└── Conflict           another event, or schedule, has this id
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.crypto.keyring import CipherError

PATIENCE = 4.5
"""Seconds that one operation may take in all; `POST /v1/events` promises its 503 within 5."""

OUT_OF_REACH = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.FAILED_PRECONDITION,  # a query that no worker is there to answer
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.PERMISSION_DENIED,
    }
)


class GatewayError(Exception):
    """Something that the caller is to be told."""


class Unavailable(GatewayError):
    """Nothing was done for certain; trying again with the same ids is safe."""


class NamespaceUnprepared(Unavailable):
    """The namespace lacks what `hookkeeper migrate` makes."""

    def __init__(self, details: Sequence[str]) -> None:
        super().__init__(
            f"the Temporal namespace is not prepared: {'; '.join(details)}. Run `hookkeeper migrate`, which"
            " makes what is missing or says how"
        )


class QueueFull(GatewayError):
    """Nothing was done: an ordered webhook has as many events waiting as may."""


class UnknownEvent(GatewayError):
    """There is no run of this event."""


class UnknownSchedule(GatewayError):
    """There is no such schedule."""


class TooManySchedules(GatewayError):
    """The tenant has as many schedules as it may have."""


class UnknownRecovery(GatewayError):
    """There is no such recovery."""


class Conflict(GatewayError):
    """The id is taken by another event, or schedule."""


NOT_THERE: dict[type[GatewayError], str] = {
    UnknownEvent: "no such event",
    UnknownSchedule: "no such schedule",
    UnknownRecovery: "no such recovery",
    Unavailable: "Temporal does not know what was asked of it: its namespace may not be there",
}


@asynccontextmanager
async def reaching_temporal(not_found: type[GatewayError] = UnknownEvent) -> AsyncIterator[None]:
    """Bound an operation in time and say Temporal's faults in our own words."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise Unavailable("Temporal, or the worker of this run, did not answer in time") from error
    except CipherError as error:
        raise Unavailable(f"the run cannot be read: it is {error}") from error
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise not_found(NOT_THERE[not_found]) from error
        if error.status == RPCStatusCode.INVALID_ARGUMENT and (missing := _attribute_in(error.message)):
            raise NamespaceUnprepared([f"search attribute {missing} is missing or has another type"]) from error
        if error.status in OUT_OF_REACH:
            raise Unavailable("Temporal, or the worker of this run, is out of reach") from error
        raise


def _attribute_in(message: str) -> str | None:
    """Give the search attribute of ours that the server's words name: it knows none of that name and type."""
    return next((name for name in sorted(ids.SEARCH_ATTRIBUTES, key=len, reverse=True) if name in message), None)
