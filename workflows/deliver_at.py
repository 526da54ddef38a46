"""The time of a scheduled event."""

from collections.abc import Callable
from datetime import datetime

from temporalio import workflow

from hookkeeper import ids
from workflows import summaries, timers


class DeliverAt:
    """When the event is delivered; it can be moved until that time has come."""

    def __init__(self, time: datetime | None) -> None:
        self.time = time
        self._has_come = workflow.info().typed_search_attributes.get(ids.DELIVER_AT) is None
        """The timer has fired, or the event was released."""

    @property
    def is_pending(self) -> bool:
        return self.time is not None and not self._has_come

    def move(self, time: datetime) -> None:
        self.time = time

    def release(self) -> None:
        """Deliver now."""
        self.time, self._has_come = workflow.now(), True

    async def wait(self, is_over: Callable[[], bool]) -> None:
        """Wait until the time has come, or the event is over."""
        while self.time is not None and self.is_pending and not is_over():
            await self._wait_for(self.time, is_over)

    async def _wait_for(self, time: datetime, is_over: Callable[[], bool]) -> None:
        has_fired = await timers.passes(
            timers.remaining(time),
            lambda: self.time != time or not self.is_pending or is_over(),
            summaries.deliver_at_summary(time),
        )
        self._has_come |= has_fired and self.time == time
