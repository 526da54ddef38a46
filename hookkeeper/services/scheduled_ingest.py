"""Accept the events of schedules, in the worker, by the rules of `POST /v1/events`."""

from pydantic import ValidationError

from hookkeeper.messages.schedule import ScheduledEvent
from hookkeeper.registry.api_keys import ApiKeys
from hookkeeper.services.errors import EventRefused, Invalid, TooLarge
from hookkeeper.services.ingest import EventIngest
from hookkeeper.services.new_event import NewEvent
from hookkeeper.services.rate_limits import RateLimits
from hookkeeper.temporal.error_translation import Conflict

MAX_REASON = 1000
"""Characters: it is kept in history, and shown in lists."""


class ScheduledEventIngest:
    """Accepts events of schedules.

    They count against the rate of the key that made the schedule, in each worker process; the admin key has none.
    """

    def __init__(self, ingest: EventIngest, keys: ApiKeys, rate_limit: str | None) -> None:
        self._ingest = ingest
        self._keys = keys
        self._rate_limit = rate_limit
        self._limits = RateLimits()

    async def accept(self, event: ScheduledEvent) -> None:
        """Accept an event, once. Raises EventRefused and RateLimited; any other error is internal."""
        await self._count(event.key_id)
        try:
            await self._ingest.accept(
                NewEvent(
                    tenant=event.tenant,
                    id=event.event_id,
                    type=event.type,
                    timestamp=event.timestamp,
                    data=event.data,
                )
            )
        except ValidationError as error:
            raise EventRefused(_reason(Invalid.of(error.errors()))) from None
        except (Invalid, TooLarge, Conflict) as refusal:
            raise EventRefused(_reason(refusal)) from None

    async def _count(self, key_id: str) -> None:
        """Count an event for the key that made its schedule; a revoked key keeps its rate. Raises RateLimited."""
        key = await self._keys.get(key_id) if key_id else None
        if key is None or not (rate := key.rate_limit or self._rate_limit):
            return
        await self._limits.count(key_id, rate, f"The key of the schedule may make {rate.replace('/', ' events a ')}.")


def _reason(refusal: Exception) -> str:
    """Say in one line what is wrong."""
    fields = refusal.errors if isinstance(refusal, Invalid) else ()
    errors = "; ".join(f"{field.path} {field.detail}" for field in fields)
    return (errors or str(refusal))[:MAX_REASON]
