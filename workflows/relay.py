"""Between the run of a large event and its parts: signals are passed on to the parts, and the parts report back."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.workflow import ChildWorkflowHandle

from hookkeeper import ids
from hookkeeper.command_rules import Command
from hookkeeper.messages import Message
from hookkeeper.messages.event import Delivery, EventState, EventStatus, event_status


class PartReport(Message):
    """What a part has of its own, and its event shows."""

    workflow_id: str
    number: int
    """Of the part's run."""
    scheduled: bool
    needs_attention: bool
    deliver_at: datetime | None = None
    """The time to which it has just been moved."""


@dataclass(eq=False)
class PartState:
    """A part, as its parent knows it."""

    deliveries: tuple[Delivery, ...]
    status: EventStatus
    """`delivering` from before its run is started until that is closed."""
    number: int = 0
    """Of its latest run under this parent."""
    handle: ChildWorkflowHandle[Any, EventState] | None = None
    failed: int = 0
    needs_attention: bool = False
    pending_signals: list[tuple[str, Any]] = field(default_factory=list)
    """Signals that came before the run was started."""

    @classmethod
    def of(cls, deliveries: tuple[Delivery, ...]) -> "PartState":
        part = cls(deliveries, event_status(deliveries))
        part.count_failures(deliveries)
        return part

    @property
    def is_open(self) -> bool:
        return self.status == "delivering"

    def count_failures(self, deliveries: Iterable[Delivery]) -> None:
        self.failed = sum(delivery.status == "failed" for delivery in deliveries)
        self.needs_attention = self.failed > 0

    def succeed(self) -> None:
        self.status = "succeeded"
        self.count_failures(())

    def end(self, cause: BaseException | None) -> None:
        """Record that its run has failed, or was cancelled or terminated."""
        self.status, self.failed, self.needs_attention = "cancelled", 0, False
        if isinstance(cause, ApplicationError):
            self.status = "failed"
            self.count_failures(EventState.model_validate(cause.details[0]).deliveries if cause.details else ())

    async def signal(self, name: str, argument: Any) -> None:
        """Signal the run, as soon as it is started."""
        if not self.is_open:
            workflow.logger.warning("signal %s ignored: the part is closed", name)
        elif self.handle is None:
            self.pending_signals.append((name, argument))
        else:
            try:
                await self.handle.signal(name, argument)
            except FailureError as error:  # it has closed meanwhile
                workflow.logger.warning("signal %s ignored: %r", name, error)

    async def send_pending_signals(self) -> None:
        pending, self.pending_signals = self.pending_signals, []
        for name, argument in pending:
            await self.signal(name, argument)


class Relay:
    """Passes signals on to the parts of a large event, and keeps what they report."""

    def __init__(self, parts: Mapping[int, PartState], *, is_scheduled: bool) -> None:
        self._parts = parts
        self.is_scheduled = is_scheduled

    @property
    def needs_attention(self) -> bool:
        """A part has a delivery that needs attention."""
        return any(part.needs_attention for part in self._parts.values())

    async def signal(self, command: Command, delivery: str | None) -> None:
        """Pass a command on to the parts that have the delivery; None is all of them."""
        await self.pass_on(command, delivery, lambda known: delivery in (None, known.id))

    async def pass_on(self, signal: str, argument: Any, is_meant: Callable[[Delivery], bool]) -> None:
        for part in self._parts.values():
            if any(map(is_meant, part.deliveries)):
                await part.signal(signal, argument)

    def add_report(self, report: PartReport) -> None:
        part = self._parts[ids.part_of(report.workflow_id)]
        if part.is_open and part.number == report.number:
            part.needs_attention = report.needs_attention
            self.is_scheduled = self.is_scheduled and report.scheduled
