"""Accept the events of schedules, in the worker, by the rules of `POST /v1/events`."""

from pydantic import ValidationError

from hookkeeper import ids, metrics
from hookkeeper.messages.schedule import ScheduledEvent
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.tenants import TenantDeleted
from hookkeeper.services.errors import EventRefused, Invalid, TenantSuspended, TooLarge
from hookkeeper.services.events.ingest import EventIngest
from hookkeeper.services.events.new_event import NewEvent
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.temporal.server.error_translation import Conflict

REFUSALS: dict[type[Exception], str] = {
    Invalid: "invalid",
    TooLarge: "too-large",
    Conflict: "conflict",
    TenantSuspended: "forbidden",
    TenantDeleted: "gone",
}
"""How they are counted."""
MAX_REASON = 1000
"""Characters: it is kept in history, and shown in lists."""


class ScheduledEventIngest:
    """Accepts events of schedules.

    They count against the rate of the key that made the schedule, in each worker process; the admin key has none.
    """

    def __init__(self, ingest: EventIngest, store: Store, rate_limit: str | None) -> None:
        self._ingest = ingest
        self._store = store
        self._limits = RateLimits(rate_limit)

    async def accept(self, event: ScheduledEvent) -> None:
        """Accept an event, once. Raises EventRefused and RateLimited; any other error is internal."""
        schedule, time = ids.scheduled_event(event.event_id) or ("", event.timestamp)
        if await self._store.schedules.has_stopped(event.tenant, schedule, time):
            metrics.count_refusal("gone")
            raise EventRefused("the schedule was paused or deleted before Temporal could be told")
        key = await self._store.api_keys.get(event.key_id) if event.key_id else None
        if key:  # a revoked key keeps its rate
            await self._limits.count_for_key(key, "events")
        try:
            await self._ingest.accept(
                NewEvent(
                    tenant=event.tenant,
                    id=event.event_id,
                    type=event.type,
                    timestamp=event.timestamp,
                    channels=event.channels,
                    data=event.data,
                ),
                event.event_id,
                may_share=False,
            )
        except ValidationError as error:
            metrics.count_refusal("invalid")
            raise EventRefused(_reason(Invalid.of(error.errors()))) from None
        except (Invalid, TooLarge, Conflict, TenantSuspended, TenantDeleted) as refusal:
            metrics.count_refusal(REFUSALS[type(refusal)])
            raise EventRefused(_reason(refusal)) from None


def _reason(refusal: Exception) -> str:
    """Return the reason in one line."""
    fields = refusal.errors if isinstance(refusal, Invalid) else ()
    errors = "; ".join(f"{field.path} {field.detail}" for field in fields)
    return (errors or str(refusal))[:MAX_REASON]
