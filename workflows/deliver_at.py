"""The time of a scheduled event."""

from collections.abc import Callable
from datetime import datetime

from temporalio import workflow

from hookkeeper import ids
from workflows import summaries, timers
from workflows.search_attributes import SearchAttributes


class DeliverAt:
    """When the event is delivered; it can be moved until that time has come."""

    def __init__(self, time: datetime | None, search_attributes: SearchAttributes) -> None:
        self.time = time
        self._search_attributes = search_attributes
        self._has_come = workflow.info().typed_search_attributes.get(ids.DELIVER_AT) is None
        """The timer has fired, or the event was released."""

    @property
    def is_pending(self) -> bool:
        return self.time is not None and not self._has_come

    def move(self, time: datetime) -> None:
        self.time = time
        self._search_attributes.move_deliver_at(time)

    def release(self) -> None:
        """Deliver now."""
        self.time, self._has_come = workflow.now(), True

    async def wait(self, is_over: Callable[[], bool]) -> None:
        """Wait until the time has come, or the event is over."""
        while self.time is not None and self.is_pending and not is_over():
            await self._wait_for(self.time, is_over)
        self._search_attributes.unset_deliver_at()

    async def _wait_for(self, time: datetime, is_over: Callable[[], bool]) -> None:
        has_fired = await timers.passes(
            timers.remaining(time),
            lambda: self.time != time or not self.is_pending or is_over(),
            summaries.deliver_at_summary(time),
        )
        self._has_come |= has_fired and self.time == time
