"""What a schedule's firing does: have its event accepted, and look whether that has been delivered.

The event is accepted where those of `POST /v1/events` are; its id is made of the schedule's id and the time, so that a
retry, or a backfill of the same time, makes no second one.
"""

from datetime import datetime, timedelta
from typing import Any, Protocol

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.tenant_concurrency import Places
from hookkeeper.content.faults import Fault, RateExceeded
from hookkeeper.messages.schedule import EventReference, ScheduledEvent
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

LINGER, GLANCE = 3.0, 1.0
"""Seconds that the first look waits for the end of a delivery, as most are over by then; and that each later one
does: of the many that wait for one webhook, none is to keep a worker's place."""
REFUSED = "EventRefused"
"""Type of the failure of a firing whose event nobody may accept."""
RATE_WAIT = timedelta(minutes=1)
"""How long a firing waits for room in the rate of the key that made its schedule, from when there was none first."""
MAX_RATE_DELAY = 10.0
"""Seconds until it looks for room again."""


class Acceptor(Protocol):
    """Accepts events."""

    async def accept(self, tenant: str, event_id: str, type_: str, timestamp: datetime, data: Any, key_id: str) -> None:
        """Accept an event, once, at the rate of the key that made its schedule.

        Raises `Fault` where it is refused, and `RateExceeded`; anything else is our own fault.
        """


class FiringActivities:
    def __init__(self, acceptor: Acceptor, gateway: Gateway, places: Places) -> None:
        self._acceptor = acceptor
        self._gateway = gateway
        self._places = places

    @activity.defn(name="accept_scheduled_event")
    async def accept(self, event: ScheduledEvent) -> None:
        """Have the event accepted; fail for good, with the reason, where it is refused.

        Raises ApplicationError where its tenant has no free place, to be tried again without limit. An event for which
        its key's rate leaves no room is tried again for a minute, and refused then: otherwise more and more would wait.
        """
        with self._places.taken(event.tenant):
            await self._accept(event)

    async def _accept(self, event: ScheduledEvent) -> None:
        try:
            await self._acceptor.accept(
                event.tenant, event.event_id, event.type, event.timestamp, event.data, event.key_id
            )
        except Fault as refusal:
            raise _refused(str(refusal)) from None
        except RateExceeded as exceeded:
            if _rate_wait() > RATE_WAIT:
                raise _refused(str(exceeded)) from None
            raise ApplicationError(
                str(exceeded),
                type="RateExceeded",
                category=ApplicationErrorCategory.BENIGN,
                next_retry_delay=timedelta(seconds=min(exceeded.retry_after, MAX_RATE_DELAY)),
            ) from None

    @activity.defn(name="await_delivery")
    async def await_delivery(self, reference: EventReference) -> None:
        """Return when the event's delivery is over; fail while it is not, to be tried again later.

        So a delivery that takes days costs neither a slot of a worker nor an event of history. Raises ApplicationError
        where its tenant has no free place, too: a backfill can make thousands of firings wait at once.
        """
        patience = LINGER if activity.info().attempt == 1 else GLANCE
        with self._places.taken(reference.tenant):
            has_ended = await self._gateway.is_closed_within(reference.tenant, reference.event_id, patience)
        if not has_ended:
            raise ApplicationError(
                f"event {reference.event_id} is still being delivered",
                type="StillUnderWay",
                category=ApplicationErrorCategory.BENIGN,
            )

    @activity.defn(name="cancel_scheduled_event")
    async def cancel(self, reference: EventReference) -> None:
        """Cancel the event, if it is there and open."""
        await self._gateway.cancel_if_open(reference.tenant, reference.event_id)


def _rate_wait() -> timedelta:
    """Say how long the rate has left no room; time without a worker or a place is not part of it."""
    details = activity.info().heartbeat_details
    since = datetime.fromisoformat(details[0]) if details else utc_now()
    activity.heartbeat(since.isoformat())
    return utc_now() - since


def _refused(reason: str) -> ApplicationError:
    return ApplicationError(reason, type=REFUSED, non_retryable=True, category=ApplicationErrorCategory.BENIGN)
