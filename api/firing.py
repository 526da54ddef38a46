"""What a firing of a schedule asks of the API's own acceptance: the worker is given this."""

from datetime import datetime
from typing import Any

from pydantic import ValidationError

from api.accepting import Acceptance
from api.errors import from_validation
from api.problems import Invalid, Problem, TooLarge
from api.schemas.events import NewEvent
from elements.faults import Fault
from workflows.reaching import Conflict

MAX_REASON = 1000
"""Characters: it is kept in history, and shown in lists."""


class ScheduledAcceptance:
    """Accepts the events of schedules as `POST /v1/events` does those of people."""

    def __init__(self, acceptance: Acceptance) -> None:
        self._acceptance = acceptance

    async def accept(self, tenant: str, event_id: str, type_: str, timestamp: datetime, data: Any) -> None:
        """Accept an event, once. Raises `Fault` where it is refused; anything else is our own fault."""
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


def _words(refusal: Problem) -> str:
    """Say in one line what is wrong."""
    errors = "; ".join(f"{each.path} {each.detail}" for each in refusal.errors)
    return (errors or str(refusal.detail))[:MAX_REASON]
