"""The position of a run in the order in which the events of a tenant were accepted."""

from datetime import datetime
from typing import NamedTuple


class RunPosition(NamedTuple):
    """Releases and recoveries continue after it."""

    accepted_at: datetime
    event_id: str
    part: int
    """The number of the run among its siblings."""
