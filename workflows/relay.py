"""Between the run of an event with parts and its parts: what people say to it is passed on to them, and what lists are
to say of them comes back.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.workflow import ChildWorkflowHandle

from hookkeeper import ids
from hookkeeper.messages.event import Delivery, EventState, EventStatus, Heard, event_status
from hookkeeper.outcomes import Message


class News(Message):
    """What lists are to say of a part."""

    workflow_id: str
    number: int
    """Of the part's run."""
    scheduled: bool
    needs_attention: tuple[str, ...]
    deliver_at: datetime | None = None
    """To which it has been moved just now."""


@dataclass(eq=False)
class Branch:
    """A part, as its parent knows it."""

    deliveries: tuple[Delivery, ...]
    status: EventStatus
    """`delivering` from before its run is started until that is over."""
    number: int = 0
    """Of its latest run under this parent."""
    handle: ChildWorkflowHandle[Any, EventState] | None = None
    failed: int = 0
    needs_attention: tuple[str, ...] = ()
    unsaid: list[tuple[str, Any]] = field(default_factory=list)
    """Signals that came before the run was there."""

    @classmethod
    def of(cls, deliveries: tuple[Delivery, ...]) -> "Branch":
        branch = cls(deliveries, event_status(deliveries))
        branch.note(deliveries)
        return branch

    @property
    def is_open(self) -> bool:
        return self.status == "delivering"

    def note(self, deliveries: Iterable[Delivery]) -> None:
        """Note what of these deliveries a person may want to look at."""
        failed = [each.webhook_id for each in deliveries if each.status == "failed"]
        self.failed, self.needs_attention = len(failed), tuple(failed)

    def end(self, cause: BaseException | None) -> None:
        """Note how its run has closed, other than `Completed`."""
        self.status, self.failed, self.needs_attention = "cancelled", 0, ()
        if isinstance(cause, ApplicationError):
            self.status = "failed"
            self.note(EventState.model_validate(cause.details[0]).deliveries if cause.details else ())

    async def say(self, signal: str, argument: Any) -> None:
        """Pass a signal on, as soon as the run is there."""
        if not self.is_open:
            workflow.logger.warning("signal %s ignored: the part is over", signal)
        elif self.handle is None:
            self.unsaid.append((signal, argument))
        else:
            try:
                await self.handle.signal(signal, argument)
            except FailureError as error:  # it has ended meanwhile
                workflow.logger.warning("signal %s ignored: %r", signal, error)


class Relay:
    """The part of `LargeEventWorkflow` that listens and tells."""

    _branches: dict[int, Branch]
    _scheduled: bool
    _needs_attention: list[str]

    @workflow.signal(description="What lists are to say of a part.")
    def hear(self, news: News) -> None:
        branch = self._branches[ids.part_of(news.workflow_id)]
        if branch.is_open and branch.number == news.number:
            branch.needs_attention = news.needs_attention
            self._scheduled = self._scheduled and news.scheduled
            self._tell(news.deliver_at)

    @workflow.signal(name="cancel", description="Stop one delivery, or all.")
    async def signal_cancel(self, delivery: str | None = None) -> None:
        await self._pass_on("cancel", delivery, _meant(delivery))

    @workflow.signal(name="retry", description="Attempt one delivery now, or all that have not succeeded.")
    async def signal_retry(self, delivery: str | None = None) -> None:
        await self._pass_on("retry", delivery, _meant(delivery))

    @workflow.signal(name="hold", description="Keep one delivery, or all, until released.")
    async def signal_hold(self, delivery: str | None = None) -> None:
        await self._pass_on("hold", delivery, _meant(delivery))

    @workflow.signal(name="release", description="Let held deliveries go on; deliver a scheduled event now.")
    async def signal_release(self, delivery: str | None = None) -> None:
        await self._pass_on("release", delivery, _meant(delivery))

    @workflow.signal(name=ids.RELEASE_WEBHOOK, description="Let go on what is held because this webhook was off.")
    async def signal_release_webhook(self, webhook_id: str) -> None:
        await self._pass_on("release_webhook", webhook_id, lambda each: each.webhook_id == webhook_id)

    @workflow.signal(name=ids.RECEIPT, description="What a mail provider says of an email on its way.")
    async def signal_receipt(self, heard: Heard) -> None:
        await self._pass_on("receipt", heard, _meant(heard.delivery))

    async def _pass_on(self, signal: str, argument: Any, meant: Callable[[Delivery], bool]) -> None:
        for branch in self._branches.values():
            if any(map(meant, branch.deliveries)):
                await branch.say(signal, argument)

    def _tell(self, moved_to: datetime | None = None) -> None:
        """Let lists say of the event what is true of its parts. Only on change: each upsert costs."""
        updates: list[SearchAttributeUpdate[Any]] = []
        needs_attention = ids.listed(
            webhook for branch in self._branches.values() for webhook in branch.needs_attention
        )
        if needs_attention != self._needs_attention:
            self._needs_attention = needs_attention
            updates.append(
                ids.NEEDS_ATTENTION.value_set(needs_attention) if needs_attention else ids.NEEDS_ATTENTION.value_unset()
            )
        waits = self._scheduled and any(branch.is_open for branch in self._branches.values())
        listed = workflow.info().typed_search_attributes.get(ids.DELIVER_AT)
        if not waits and listed is not None:
            updates.append(ids.DELIVER_AT.value_unset())
        elif waits and moved_to not in (None, listed):
            updates.append(ids.DELIVER_AT.value_set(moved_to))
        if updates:
            workflow.upsert_search_attributes(updates)


def _meant(delivery: str | None) -> Callable[[Delivery], bool]:
    return lambda each: delivery is None or each.id == delivery
