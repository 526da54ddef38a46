"""The activities of a schedule's firing: accept its event, check whether it has been delivered, cancel it.

The event is accepted as by `POST /v1/events`. Its id is made of the schedule's id and the time, so that a retry, or a
backfill of the same time, makes no second event.
"""

from datetime import datetime, timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.tenant_concurrency import TenantConcurrency
from hookkeeper.error_types import EVENT_REFUSED, RATE_EXCEEDED, STILL_DELIVERING
from hookkeeper.messages.schedule import EventReference, ScheduledEvent
from hookkeeper.services.errors import EventRefused, RateLimited
from hookkeeper.services.events.scheduled_ingest import ScheduledEventIngest
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.times import utc_now

FIRST_CHECK_TIMEOUT, CHECK_TIMEOUT = 3.0, 1.0
"""Seconds that the first check waits for the end of a delivery, as most end by then, and each later check. They are
short because many may wait for one webhook, and each occupies a slot of a worker."""
RATE_TIMEOUT = timedelta(minutes=1)
"""Time for which a firing is retried while the rate of its schedule's key is exceeded."""
MAX_RATE_DELAY = 10.0
"""Seconds between two of these tries, at most."""


class ScheduledEventActivities:
    """Raise ApplicationError if the tenant has no free slot, which is retried without limit."""

    def __init__(self, ingest: ScheduledEventIngest, gateway: Gateway, concurrency: TenantConcurrency) -> None:
        self._ingest = ingest
        self._gateway = gateway
        self._concurrency = concurrency

    @activity.defn
    async def accept_scheduled_event(self, event: ScheduledEvent) -> None:
        """Accept the event; fail without a retry, and with the reason, if it is refused.

        An event over the rate of its key is retried for a minute, and refused then: otherwise more and more would wait.
        """
        with self._concurrency.slot(event.tenant):
            await self._accept(event)

    async def _accept(self, event: ScheduledEvent) -> None:
        try:
            await self._ingest.accept(event)
        except EventRefused as refusal:
            raise _refused(str(refusal)) from None
        except RateLimited as exceeded:
            if _time_over_rate() > RATE_TIMEOUT:
                raise _refused(str(exceeded)) from None
            raise ApplicationError(
                str(exceeded),
                type=RATE_EXCEEDED,
                category=ApplicationErrorCategory.BENIGN,
                next_retry_delay=timedelta(seconds=min(exceeded.retry_after, MAX_RATE_DELAY)),
            ) from None

    @activity.defn
    async def await_delivery(self, event: EventReference) -> None:
        """Return when the event's delivery is final; fail before, to be retried later.

        So a delivery that takes days costs neither a slot of a worker nor events of history. A backfill can make
        thousands of firings wait at the same time.
        """
        timeout = FIRST_CHECK_TIMEOUT if activity.info().attempt == 1 else CHECK_TIMEOUT
        with self._concurrency.slot(event.tenant):
            is_closed = await self._gateway.is_closed_within(event.tenant, event.event_id, timeout)
        if not is_closed:
            raise ApplicationError(
                f"event {event.event_id} is still being delivered",
                type=STILL_DELIVERING,
                category=ApplicationErrorCategory.BENIGN,
            )

    @activity.defn
    async def cancel_scheduled_event(self, event: EventReference) -> None:
        """Cancel the event if it is open."""
        await self._gateway.cancel_if_open(event.tenant, event.event_id)


def _time_over_rate() -> timedelta:
    """Return the time since the rate was first exceeded; time without a worker or a free slot does not count."""
    details = activity.info().heartbeat_details
    since = datetime.fromisoformat(details[0]) if details else utc_now()
    activity.heartbeat(since.isoformat())
    return utc_now() - since


def _refused(reason: str) -> ApplicationError:
    return ApplicationError(reason, type=EVENT_REFUSED, non_retryable=True, category=ApplicationErrorCategory.BENIGN)
