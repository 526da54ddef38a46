"""A part of an event with many targets: an event's run in all but its name, and that it tells its parent of itself.

What lists say of an event is said of its parent, which cannot see into its parts.
"""

import asyncio
from datetime import datetime

from temporalio import workflow
from temporalio.exceptions import FailureError

from hookkeeper import ids
from hookkeeper.messages.event import EventInput, EventState
from workflows.event import EventWorkflow
from workflows.relay import News, Relay


@workflow.defn(name=ids.PART)
class EventPartWorkflow(EventWorkflow):
    """One event on its way to some of its targets."""

    @workflow.init
    def __init__(self, event: EventInput) -> None:
        super().__init__(event)
        waits = workflow.info().typed_search_attributes.get(ids.DELIVER_AT) is not None
        self._told = (waits, frozenset(self._needs_attention))

    @workflow.run
    async def run(self, event: EventInput) -> EventState:
        """Deliver to the targets of this part."""
        return await super().run(event)

    async def _until_deliver_at(self) -> None:
        await super()._until_deliver_at()
        self._tell_parent()

    def _update_search_attributes(self) -> None:
        super()._update_search_attributes()
        self._tell_parent()

    def _tell_parent(self) -> None:
        """Tell that its time has come, of the first trouble, of a webhook more, of the last one mended.

        Not of each that is mended: a thousand would keep the parent as busy as the parts.
        """
        waits, needs_attention = self._is_scheduled(), frozenset(self._needs_attention)
        waited, known = self._told
        if waits == waited and needs_attention <= known and bool(needs_attention) == bool(known):
            return
        self._told = (waits, needs_attention)
        self._send_news()

    def _list_time(self, deliver_at: datetime) -> None:
        super()._list_time(deliver_at)
        self._send_news(deliver_at)

    def _send_news(self, deliver_at: datetime | None = None) -> None:
        info = workflow.info()
        news = News(
            workflow_id=info.workflow_id,
            number=info.typed_search_attributes.get(ids.RUN_NUMBER, 1),
            scheduled=self._is_scheduled(),
            needs_attention=tuple(self._needs_attention),
            deliver_at=deliver_at,
        )
        asyncio.create_task(_send_to_parent(news))  # noqa: RUF006 - a workflow's loop keeps its tasks


async def _send_to_parent(news: News) -> None:
    parent = workflow.info().parent
    if parent is None:  # somebody has started it by hand
        return
    try:
        await workflow.get_external_workflow_handle(parent.workflow_id).signal(Relay.hear, news)
    except FailureError as error:  # it was terminated, and this part will be
        workflow.logger.warning("the parent does not hear: %r", error)
