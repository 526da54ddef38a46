"""The time of a scheduled event."""

from collections.abc import Callable
from datetime import datetime

from temporalio import workflow

from workflows import summaries, timers
from workflows.visibility import SearchAttributes, run_number


class DeliverAt:
    """When the event is delivered; it can be moved until that time has come."""

    def __init__(self, time: datetime | None, search_attributes: SearchAttributes) -> None:
        self.time = time
        self._search_attributes = search_attributes
        self._has_come = run_number() > 1 or workflow.info().continued_run_id is not None
        """The timer has fired, the event was released, or an earlier run has waited. A run continues after that."""

    @property
    def is_pending(self) -> bool:
        return self.time is not None and not self._has_come

    def move(self, time: datetime) -> None:
        self.time = time
        self._search_attributes.move_deliver_at(time)

    def release(self) -> None:
        """Deliver now."""
        self.time, self._has_come = workflow.now(), True
        self._search_attributes.unset_deliver_at()

    async def wait(self, is_over: Callable[[], bool]) -> None:
        """Wait until the time has come, or the event is over."""
        while self.time is not None and self.is_pending and not is_over():
            await self._wait_for(self.time, is_over)

    async def _wait_for(self, time: datetime, is_over: Callable[[], bool]) -> None:
        has_fired = await timers.passes(
            timers.remaining(time),
            summaries.deliver_at_summary(time),
            lambda: self.time != time or not self.is_pending or is_over(),
        )
        self._has_come |= has_fired and self.time == time
