"""The messages of a walk over runs with deliveries, the events that were accepted first being first."""

from datetime import datetime
from typing import NamedTuple


class RunPosition(NamedTuple):
    """The position of a run in a walk over the events of a tenant."""

    accepted_at: datetime
    event_id: str
    part: int
    """0 for an event's own run."""
