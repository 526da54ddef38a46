"""What a firing of a schedule asks of the API's own acceptance: the worker is given this."""

from datetime import datetime
from typing import Any

from pydantic import ValidationError

from api.errors import from_validation
from api.ingest import EventIngest
from api.limiting import Limits
from api.problems import Invalid, Problem, TooLarge, TooManyRequests
from api.schemas.events import NewEvent
from hookkeeper.content.faults import Fault, RateExceeded
from hookkeeper.registry.api_keys import ApiKeys
from hookkeeper.temporal.error_translation import Conflict

MAX_REASON = 1000
"""Characters: it is kept in history, and shown in lists."""


class ScheduledEventIngest:
    """Accepts the events of schedules as `POST /v1/events` does those of people.

    They count against the rate of the key that made the schedule, in each worker process; the admin key has none.
    """

    def __init__(self, acceptance: EventIngest, keys: ApiKeys, rate_limit: str | None) -> None:
        self._acceptance = acceptance
        self._keys = keys
        self._rate_limit = rate_limit
        self._limits = Limits()

    async def accept(self, tenant: str, event_id: str, type_: str, timestamp: datetime, data: Any, key_id: str) -> None:
        """Accept an event, once. Raises `Fault` where it is refused, and RateExceeded; else it is our own fault."""
        await self._count(key_id)
        try:
            await self._acceptance.accept(
                NewEvent.model_validate(
                    {
                        "tenant": tenant,
                        "id": event_id,
                        "type": type_,
                        "timestamp": timestamp.isoformat(),
                        "data": data,
                    }
                )
            )
        except ValidationError as error:
            raise Fault(_words(from_validation(error.errors()))) from None
        except (Invalid, TooLarge) as refusal:
            raise Fault(_words(refusal)) from None
        except Conflict as refusal:
            raise Fault(str(refusal)) from None

    async def _count(self, key_id: str) -> None:
        """Count an event for the key that made its schedule; a revoked key keeps its rate. Raises RateExceeded."""
        key = await self._keys.get(key_id) if key_id else None
        if key is None or not (rate := key.rate_limit or self._rate_limit):
            return
        try:
            await self._limits.count(
                key_id, rate, f"The key of the schedule may make {rate.replace('/', ' events a ')}."
            )
        except TooManyRequests as refusal:
            seconds = float((refusal.headers or {}).get("retry-after", 1))
            raise RateExceeded(str(refusal.detail), seconds) from None


def _words(refusal: Problem) -> str:
    """Say in one line what is wrong."""
    errors = "; ".join(f"{each.path} {each.detail}" for each in refusal.errors)
    return (errors or str(refusal.detail))[:MAX_REASON]
